#pragma once

#include "agent/loop.hpp"
#include "agent/memory_pressure.hpp"
#include "agent/port_guard.hpp"
#include "base/units.hpp"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace understudy::agent {

// Of an application's cgroups, no more than so deep and so many are looked at, whatever it made.
inline constexpr int kMostDepth = 32;
inline constexpr std::size_t kMostCgroups = 4096;

// How often the kernel has killed in a container for lack of memory, ever, and for whose limit.
struct OutOfMemory {
  std::uint64_t kills = 0;
  std::uint64_t own_limit = 0;     // its own limit was reached and nothing could be freed
  std::uint64_t limits_below = 0;  // that, or one that it has set itself for a part of its own

  // Since then. Killed, and no limit in here was reached: the guest's kernel itself had no memory left.
  [[nodiscard]] bool killed_since(const OutOfMemory& then) const { return kills > then.kills; }
  [[nodiscard]] bool limit_since(const OutOfMemory& then) const { return own_limit > then.own_limit; }
  [[nodiscard]] bool below_since(const OutOfMemory& then) const {
    return limits_below - own_limit > then.limits_below - then.own_limit;
  }
};

// Holds all processes of one application, so that none is overlooked: what it starts stays inside.
class Container {
 public:
  virtual ~Container() = default;

  // The directory of a cgroup that a child can be born into; -1: there is none, and the child joins by
  // itself. Joining later takes the kernel a grace period, which a start would wait for.
  [[nodiscard]] virtual int cgroup() const { return -1; }
  // In a forked child that was not born inside, before it gives up its privileges. False: errno says why.
  [[nodiscard]] virtual bool join_in_child() = 0;
  // In the parent, right after the fork. From here on the process counts, whatever it has come to do itself:
  // a child that is stopped before it has joined must not be overlooked.
  virtual void forked(pid_t main_process, bool born_inside) = 0;

  // 0: no limit.
  [[nodiscard]] virtual Result<void> limit_memory(Bytes bytes) = 0;
  // What it uses and the kernel cannot simply drop; 0 where that is not counted.
  [[nodiscard]] virtual Bytes memory_used() const = 0;
  // What the kernel holds for it: network buffers, page tables, stacks, open files; 0 where not counted.
  [[nodiscard]] virtual Bytes kernel_memory_used() const = 0;
  [[nodiscard]] virtual OutOfMemory out_of_memory() const = 0;

  // Processes and threads, whoever they run as; 0: no limit. Where it cannot be, the limit of a user is what
  // there is (RLIMIT_NPROC), and counts all that run as that user.
  virtual void limit_processes(std::uint64_t) {}
  [[nodiscard]] virtual bool limits_processes() const { return false; }
  // How often one more was refused for that limit, ever.
  [[nodiscard]] virtual std::uint64_t refused_processes() const { return 0; }

  // TCP ports that nobody in here can listen at: others'. Without cgroups anybody can.
  [[nodiscard]] virtual Result<void> refuse_ports(std::vector<std::uint16_t>) { return {}; }

  [[nodiscard]] virtual std::vector<pid_t> processes() const = 0;
  [[nodiscard]] virtual bool populated() const = 0;
  virtual void signal_all(int signal) = 0;
  virtual void kill_all() = 0;  // SIGKILL, those that are being forked meanwhile included
  // As it was when it was made, for the next start: whatever was changed in it is undone. Only when it is
  // empty.
  [[nodiscard]] virtual Result<void> renew() { return {}; }

  // Called from the loop whenever it may have become empty; ask populated().
  void on_change(std::function<void()> handler) { changed_ = std::move(handler); }
  void changed() const {
    if (changed_) changed_();
  }
  // Called from the loop when it crawls at its memory limit (memory_pressure.hpp).
  void on_stall(std::function<void()> handler) { stalled_ = std::move(handler); }
  void stalled() const {
    if (stalled_) stalled_();
  }

 private:
  std::function<void()> changed_;
  std::function<void()> stalled_;
};

// A cgroup v2 of its own below `parent`, killed as one by the kernel when its memory runs out. Those that the
// application makes below its own (podman, systemd) belong to it: their processes count, and they go with it.
class CgroupContainer final : public Container {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Container>> create(Loop& loop, const std::string& parent,
                                                                 const std::string& name);
  ~CgroupContainer() override;

  [[nodiscard]] int cgroup() const override { return directory_fd_.get(); }
  bool join_in_child() override;
  void forked(pid_t main_process, bool born_inside) override;
  Result<void> limit_memory(Bytes bytes) override;
  [[nodiscard]] Bytes memory_used() const override;
  [[nodiscard]] Bytes kernel_memory_used() const override;
  [[nodiscard]] OutOfMemory out_of_memory() const override;
  void limit_processes(std::uint64_t most) override;
  [[nodiscard]] bool limits_processes() const override { return most_processes_ != 0; }
  [[nodiscard]] std::uint64_t refused_processes() const override;
  Result<void> refuse_ports(std::vector<std::uint16_t> ports) override;
  [[nodiscard]] std::vector<pid_t> processes() const override;
  [[nodiscard]] bool populated() const override;
  void signal_all(int signal) override;
  void kill_all() override;
  Result<void> renew() override;

 private:
  CgroupContainer(Loop& loop, std::string directory) : loop_(loop), directory_(std::move(directory)) {}
  [[nodiscard]] Result<void> open();
  void watch_pressure();
  void under_pressure();
  [[nodiscard]] bool as_made() const;

  Loop& loop_;
  std::string directory_;
  std::uint64_t most_processes_ = 0;  // 0: no limit
  UniqueFd directory_fd_;
  UniqueFd procs_;   // opened beforehand: the child writes to it without allocating
  UniqueFd events_;  // cgroup.events; EPOLLPRI when it changes
  Loop::Watch watch_;
  UniqueFd pressure_;  // memory.pressure with a trigger; EPOLLPRI when it is reached
  Loop::Watch pressure_watch_;
  CrawlJudge judge_;
  std::vector<std::uint16_t> refused_ports_;
  PortGuard port_guard_;
};

// A session: for tests, and for systems without cgroup v2. A process that leaves the session escapes; whoever
// uses it must be the subreaper, and call changed() when a child ends.
class SessionContainer final : public Container {
 public:
  bool join_in_child() override { return true; }  // every child starts a session of its own anyway
  void forked(pid_t main_process, bool) override { session_ = main_process; }
  Result<void> limit_memory(Bytes) override { return {}; }
  [[nodiscard]] Bytes memory_used() const override { return 0; }
  [[nodiscard]] Bytes kernel_memory_used() const override { return 0; }
  [[nodiscard]] OutOfMemory out_of_memory() const override { return {}; }
  [[nodiscard]] std::vector<pid_t> processes() const override;
  [[nodiscard]] bool populated() const override { return !processes().empty(); }
  void signal_all(int signal) override;
  void kill_all() override;

 private:
  pid_t session_ = -1;
};

// Makes the containers' parent below a cgroup v2 mount (or a delegated directory) and hands the controllers
// of memory and of processes down to it. The answer is the parent's directory.
[[nodiscard]] Result<std::string> prepare_cgroups(const std::string& root);

}  // namespace understudy::agent
