#pragma once

#include "agent/application.hpp"
#include "agent/cpus.hpp"
#include "agent/engager.hpp"
#include "agent/kernel_limits.hpp"
#include "agent/port.hpp"
#include "agent/preparer.hpp"
#include "agent/releaser.hpp"
#include "agent/uevents.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::agent {

// What applications have of their own to write to (own_files.hpp).
enum class OwnFilesOf { nobody, an_ordinary_guest, our_image };

struct Options {
  std::string port;  // empty: found by its name
  // A cgroup v2 directory that may be used; empty: applications are held together by their session only.
  std::string cgroup_root = "/sys/fs/cgroup";
  std::string run_directory = "/run/understudy";
  std::string memory_directory = "/sys/devices/system/memory";
  std::string cpu_directory = "/sys/devices/system/cpu";
  std::string meminfo_file = "/proc/meminfo";
  std::string drop_caches_file = "/proc/sys/vm/drop_caches";
  std::string passwd_file = "/etc/passwd";
  std::string sysctl_directory = "";  // "/proc/sys"; empty: the kernel's limits are left as they are
  OwnFilesOf own_files = OwnFilesOf::nobody;
};

// Reads the daemon's messages and hands each to the part that does it.
class Agent {
 public:
  // The kernel takes a millisecond of an emulated CPU to sum its memory up, more than the rest of a beat.
  static constexpr Duration kMemoryOfBeatsAge = std::chrono::milliseconds(250);

  [[nodiscard]] static Result<std::unique_ptr<Agent>> create(Loop& loop, Options options);
  ~Agent();

 private:
  Agent(Loop& loop, Options options, std::unique_ptr<Children> children);
  void set_up_containers();
  void listen_to_kernel();
  // Tried once: it takes the kernel longer than anything else that a start needs.
  void try_processes();
  [[nodiscard]] Namespaces namespaces(const protocol::Application& of, Bytes memory_limit_bytes);
  [[nodiscard]] Shortage shortage(const std::string& name) const;
  [[nodiscard]] std::string owner(pid_t process) const;
  // As much memory as there is now.
  void adjust_limits();
  void bound(Container& container, const protocol::Application& of, Part part);
  void bound_all();
  [[nodiscard]] bool needs_own_domain(const protocol::Application& of, const User& user);
  // Ports that applications listen at are lent out to nobody who only wants any.
  void reserve_ports();
  // Who uses the guest's memory, for those who cannot get it.
  [[nodiscard]] std::string describe_use() const;

  void on_line(std::string_view line);
  void on_disconnected();
  void greet();
  void beat();
  bool send(const protocol::FromAgent& message);
  void log(const std::string& text);
  [[nodiscard]] MemInfo memory() const { return read_meminfo(options_.meminfo_file); }
  // Of what the kernel calls available, what is nobody's: for another application. Memory that is engaged for
  // `asking`, or for a rehearsal of it that has ended, is its own.
  [[nodiscard]] MemInfo memory_left(const Application* asking = nullptr) const;

  void handle(const protocol::to_agent::Greet&) { greet(); }
  void handle(const protocol::to_agent::Welcome& message);
  void handle(const protocol::to_agent::Refuse& message);
  void handle(const protocol::to_agent::Need& message);
  void handle(const protocol::to_agent::Engage& message);
  void handle(const protocol::to_agent::Start& message);
  void handle(const protocol::to_agent::Stop& message);
  void handle(const protocol::to_agent::Release& message) { releaser_.release(message); }
  void handle(const protocol::to_agent::Prepare& message);
  void handle(const protocol::to_agent::Drill& message);
  void handle(const protocol::to_agent::GrowDone& message);
  void handle(const protocol::to_agent::GrowRefused& message);
  void handle(const protocol::to_agent::Tail& message);
  void handle(const protocol::to_agent::Query&);

  // The application by its number; null: logged.
  [[nodiscard]] Application* find(protocol::AppNumber app);
  void define(const protocol::Application& definition);
  void drop_undefined(const std::vector<protocol::Application>& defined);
  void say_where_all_stand();

  Loop& loop_;
  Options options_;
  std::unique_ptr<Children> children_;
  std::unique_ptr<Uevents> uevents_;
  std::string cgroups_;  // the containers' parent; empty: sessions
  Bytes base_bytes_;     // what the guest had when the agent started
  std::optional<KernelLimits> limits_;
  MemoryBlocks blocks_;
  Host host_;
  Engager engager_;
  Releaser releaser_;
  Preparer preparer_;
  Cpus cpus_;
  Port port_;
  std::uint64_t session_;
  std::uint64_t beats_ = 0;
  bool welcomed_ = false;
  std::vector<std::uint16_t> ports_;  // where clients and health checks find applications; sorted, each once
  bool told_of_ports_ = false;
  bool told_of_domains_ = false;
  std::string why_no_processes_;  // of an application's own; empty: it has them
  bool told_of_processes_ = false;
  Duration beat_interval_{};
  Time next_beat_;
  MemInfo beat_memory_;
  Time beat_memory_at_;
  Loop::Timer beat_timer_;
  std::map<protocol::AreaNumber, Bytes> area_bytes_;
  std::map<std::string, std::unique_ptr<Application>> applications_;  // by name; numbers may change
};

}  // namespace understudy::agent
