#pragma once

#include "agent/agent.hpp"
#include "base/kernel_files.hpp"
#include "directory.hpp"
#include "protocol/codec.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <fstream>
#include <stdexcept>
#include <string>

namespace understudy::agent::test {

// A writable cgroup v2 directory of this machine, or empty.
inline std::string find_cgroup_root() {
  std::ifstream mounts("/proc/mounts");
  std::string source;
  std::string where;
  std::string type;
  for (std::string rest; mounts >> source >> where >> type && std::getline(mounts, rest);) {
    if (type == "cgroup2" && ::access((where + "/cgroup.procs").c_str(), W_OK) == 0) return where;
  }
  return "";
}

// In a plain chroot the root is no mount, and its mounts cannot be made private.
inline bool can_isolate() {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool can = ::unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC) == 0 &&
                     ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ::_exit(can ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A cgroup of this test process's own, as tests may run side by side.
class CgroupRoot {
 public:
  explicit CgroupRoot(const std::string& parent)
      : path_(parent + "/understudy-test-" + std::to_string(::getpid())) {
    made_ = !parent.empty() && ::mkdir(path_.c_str(), 0755) == 0;
  }
  ~CgroupRoot() {
    if (!made_) return;
    // What was killed at the end of the test takes a moment to leave.
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries && !remove(); ++i) ::usleep(1000);
  }
  CgroupRoot(const CgroupRoot&) = delete;
  CgroupRoot& operator=(const CgroupRoot&) = delete;
  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  bool remove() {
    for (const std::string& name : list_directory(path_ + "/understudy")) {
      ::rmdir((path_ + "/understudy/" + name).c_str());
    }
    ::rmdir((path_ + "/understudy").c_str());
    return ::rmdir(path_.c_str()) == 0;
  }

  std::string path_;
  bool made_ = false;
};

// A listening unix socket, as QEMU's end of the port is one.
inline UniqueFd listen_at(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd.get(), 4), 0);
  return fd;
}

// A whole agent with a scripted daemon at the other end of its port, in one thread: hear() turns the agent's
// loop until the message has come.
class Harness {
 public:
  explicit Harness(const std::string& cgroup_root = "", OwnFilesOf own_files = OwnFilesOf::nobody)
      : loop(*Loop::create()) {
    listener = listen_at(files.path() + "/port");
    Options options;
    options.port = files.path() + "/port";
    options.cgroup_root = cgroup_root;
    options.run_directory = files.path() + "/run";
    options.own_files = own_files;
    options.memory_directory = files.path();
    options.meminfo_file = files.path() + "/meminfo";
    options.drop_caches_file = files.path() + "/drop_caches";
    files.write("drop_caches", "");
    agent = *Agent::create(*loop, options);
    accept();
  }

  void accept() {
    for (const Time end = Loop::now() + std::chrono::seconds(60); Loop::now() < end;) {
      connection = UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (connection) break;
      loop->run_once(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(connection);
    received.clear();
  }
  void send_raw(const std::string& text) {
    EXPECT_EQ(::write(connection.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void send(const protocol::ToAgent& message) { send_raw(*protocol::encode(message)); }

  // The next message of this type within the time; others before it are kept in `passed`.
  template <class T>
  T hear(Duration most = std::chrono::seconds(60)) {
    const Time end = Loop::now() + most;
    for (;;) {
      while (!messages.empty()) {
        const protocol::FromAgent message = messages.front();
        messages.pop_front();
        if (const auto* found = std::get_if<T>(&message)) return *found;
        passed.push_back(message);
      }
      // Thrown: a test that went on would send its signals to process 0.
      if (Loop::now() > end) throw std::runtime_error("the message did not come");
      turn(std::chrono::milliseconds(10));
    }
  }
  void turn(Duration most) {
    loop->run_once(most);
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(connection.get(), buffer, sizeof buffer)) > 0;) {
      received.append(buffer, static_cast<std::size_t>(got));
    }
    for (std::size_t end = 0; (end = received.find('\n')) != std::string::npos; received.erase(0, end + 1)) {
      const std::string line = received.substr(0, end);
      if (line.empty()) continue;
      auto message = protocol::decode_from_agent(line);
      ASSERT_TRUE(message) << line << ": " << message.error().message;
      messages.push_back(std::move(*message));
    }
  }
  // Turns the loop for this long.
  void pass(Duration time) {
    for (const Time end = Loop::now() + time; Loop::now() < end;) turn(std::chrono::milliseconds(5));
  }
  template <class Condition>
  bool until(Condition condition, Duration most = std::chrono::seconds(60)) {
    const Time end = Loop::now() + most;
    while (!condition() && Loop::now() < end) turn(std::chrono::milliseconds(5));
    return condition();
  }
  template <class T>
  [[nodiscard]] std::size_t count() const {
    std::size_t n = 0;
    for (const auto& message : passed) n += std::holds_alternative<T>(message);
    for (const auto& message : messages) n += std::holds_alternative<T>(message);
    return n;
  }
  void welcome(const std::vector<protocol::Application>& applications, std::uint64_t beat_ms = 50) {
    (void)hear<protocol::from_agent::Hello>();
    send(protocol::to_agent::Welcome{protocol::kVersion, "alpha", 1, beat_ms, applications});
  }

  MemoryDirectory files;
  std::unique_ptr<Loop> loop;
  UniqueFd listener;
  UniqueFd connection;
  std::unique_ptr<Agent> agent;
  std::string received;
  std::deque<protocol::FromAgent> messages;
  std::deque<protocol::FromAgent> passed;
};

// A shell script as application number 1.
inline protocol::Application script(const std::string& text) {
  protocol::Application app;
  app.app = 1;
  app.name = "test";
  app.start = {"/bin/sh", "-c", text};
  app.user = std::to_string(::getuid()) + ":" + std::to_string(::getgid());
  // Limits that only a test of them ever reaches, on however slow a machine.
  app.health = {protocol::HealthKind::process, 0, {}, 20, 30'000, 2};
  app.restart = {2, 60'000, 10, 100, protocol::FirstResort::restart};
  app.start_limit_ms = 60'000;
  app.stop_limit_ms = 300;
  return app;
}

}  // namespace understudy::agent::test
