#include "fake_qemu.hpp"

#include "qemu/command_line.hpp"
#include "qemu/proc.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace understudy::qemu {
namespace {

namespace json = boost::json;

class FakeQemu {
 public:
  explicit FakeQemu(const std::vector<std::string>& argv) {
    std::istringstream words(std::getenv(kFakeQemuVariable));
    for (std::string word; words >> word;) faults_.insert(word);
    counting_ = has("launch");
    for (std::size_t i = 0; i + 1 < argv.size(); ++i) {
      if (argv[i] == "-netdev") forward(argv[i + 1]);
      if (argv[i] == "-accel") kvm_ = argv[i + 1] == "kvm";
      if (const std::size_t at = argv[i + 1].find("maxcpus="); argv[i] == "-smp" && at != std::string::npos)
        vcpus_.resize(std::stoul(argv[i + 1].substr(at + 8)));
    }
  }

  [[noreturn]] void run() {
    while (true) {
      std::vector<pollfd> fds{{kQmpFd, POLLIN, 0},
                              {kAgentFd, POLLIN, 0},
                              {monitor_, POLLIN, 0},
                              {control_, POLLIN, 0},
                              {tests_, POLLIN, 0}};
      for (const auto& [fd, port] : listeners_) fds.push_back({fd, POLLIN, 0});
      if (::poll(fds.data(), fds.size(), -1) < 0) continue;
      if (fds[0].revents != 0) accept_monitor();
      if (fds[1].revents != 0) accept_agent();
      if (fds[2].revents != 0)
        receive(monitor_, monitor_input_, [this](const std::string& line) { command(line); });
      if (fds[3].revents != 0)
        receive(control_, control_input_, [this](const std::string& line) { order(line); });
      if (fds[4].revents != 0) ::_exit(0);
      for (std::size_t i = 5; i < fds.size(); ++i) {
        if (fds[i].revents == 0) continue;
        const int connection = ::accept(fds[i].fd, nullptr, nullptr);
        if (!has("dead-kernel") && connection >= 0) ::close(connection);
      }
    }
  }

 private:
  [[nodiscard]] bool has(const std::string& fault) const { return faults_.count(fault) != 0; }

  void forward(const std::string& netdev) {
    std::istringstream parts(netdev);
    for (std::string part; std::getline(parts, part, ',');) {
      if (!part.starts_with("hostfwd=")) continue;
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
      ::listen(fd, 16);
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
      listeners_[fd] = "  TCP[HOST_FORWARD]  13  127.0.0.1 " + std::to_string(ntohs(address.sin_port)) +
                       "  10.0.2.15  " + part.substr(part.rfind(':') + 1) + "  0  0\r\n";
    }
  }

  void accept_monitor() {
    const int fd = ::accept(kQmpFd, nullptr, nullptr);
    if (monitor_ >= 0) ::close(monitor_);
    monitor_ = fd;
    monitor_input_.clear();
    if (!has("mute"))
      say(R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}})");
  }

  void accept_agent() {
    control_ = ::accept(kAgentFd, nullptr, nullptr);
    control_input_.clear();
    if (has("hello")) (void)!::write(control_, "hello\n", 6);
  }

  // As QEMU does: a descriptor that comes along is kept for the next `getfd`.
  ssize_t read_with_descriptor(int fd, char* bytes, std::size_t size) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec data{bytes, size};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    const cmsghdr* header = count > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      if (passed_ >= 0) ::close(passed_);
      std::memcpy(&passed_, CMSG_DATA(header), sizeof passed_);
    }
    return count;
  }

  template <class Handle>
  void receive(int& fd, std::string& input, Handle handle) {
    char bytes[4096];
    const ssize_t count = read_with_descriptor(fd, bytes, sizeof bytes);
    if (count <= 0) {
      ::close(fd);
      fd = -1;
      return;
    }
    input.append(bytes, static_cast<std::size_t>(count));
    for (std::size_t end = 0; (end = input.find('\n')) != std::string::npos && fd >= 0;) {
      const std::string line = input.substr(0, end);
      input.erase(0, end + 1);
      handle(line);
    }
  }

  void say(const std::string& line) {
    if (holding_) return held_.push_back(line);
    if (monitor_ >= 0) (void)!::write(monitor_, (line + "\r\n").data(), line.size() + 2);
  }
  void event(const std::string& name, const std::string& data) {
    say(R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": ")" + name + R"(", "data": )" + data +
        "}");
  }
  void done(const json::value& id, const json::value& value = json::object()) {
    say(json::serialize(json::object{{"return", value}, {"id", id}}));
  }
  void refuse(const json::value& id, const char* error_class, const std::string& text) {
    say(json::serialize(
        json::object{{"error", json::object{{"class", error_class}, {"desc", text}}}, {"id", id}}));
  }

  void command(const std::string& line) {
    const json::object object = json::parse(line).as_object();
    const std::string name(object.at("execute").as_string());
    const json::value& id = object.at("id");
    const json::object none;
    const json::object& arguments = object.contains("arguments") ? object.at("arguments").as_object() : none;
    if (counting_) {
      if (has("refuse=" + name)) return refuse(id, "GenericError", "refused for the test");
      if (has("silent=" + name)) return;
      if (has("exit=" + name)) ::_exit(3);
      if (has("garbage=" + name)) return say("garbage");
      if (has("late=" + name)) holding_ = true;
      if (has("hangup=" + name)) {
        ::close(monitor_);
        monitor_ = -1;
        return;
      }
    }
    perform(name, id, arguments);
    if (name == "query-memory-devices") counting_ = true;  // the last command of a launch
  }

  void perform(const std::string& name, const json::value& id, const json::object& arguments) {
    const auto argument = [&arguments](const char* key) {
      return std::string(arguments.at(key).as_string());
    };
    if (name == "stop") {
      if (!has("unstoppable") && status_ == "running") status_ = "paused";
      event("STOP", "{}");
      done(id);
    } else if (name == "query-status") {
      done(id, {{"running", status_ == "running"}, {"status", status_}});
    } else if (name == "query-kvm") {
      done(id, {{"enabled", kvm_ || has("kvm")}, {"present", true}});
    } else if (name == "human-monitor-command") {
      std::string text = "Hub -1 (net0):\r\n";
      for (const auto& [fd, forwarded] : listeners_) text += forwarded;
      done(id, json::value(text));
    } else if (name == "qom-list") {
      json::array objects{{{"name", "type"}, {"type", "string"}}};
      for (const std::string& backend : backends_)
        objects.push_back({{"name", backend}, {"type", "child<memory-backend-file>"}});
      done(id, objects);
    } else if (name == "query-memory-devices") {
      json::array devices;
      for (const auto& [device, address] : devices_)
        devices.push_back({{"type", "dimm"}, {"data", {{"id", device}, {"addr", address}}}});
      done(id, devices);
    } else if (name == "object-add") {
      const int backing = ::open(argument("mem-path").c_str(), O_RDWR | O_CLOEXEC);
      if (backing < 0) return refuse(id, "GenericError", "can't open backing store " + argument("mem-path"));
      ::close(backing);
      if (!backends_.insert(argument("id")).second)
        return refuse(id, "GenericError", "attempt to add duplicate property '" + argument("id") + "'");
      done(id);
    } else if (name == "query-hotpluggable-cpus") {
      json::array places;  // the highest first, as QEMU does
      for (std::size_t i = vcpus_.size(); i-- > 0;) {
        json::object place{{"type", "qemu64-x86_64-cpu"},
                           {"vcpus-count", 1},
                           {"props", {{"core-id", i}, {"thread-id", 0}, {"socket-id", 0}}}};
        if (i == 0) place["qom-path"] = "/machine/unattached/device[0]";
        if (!vcpus_[i].empty()) place["qom-path"] = "/machine/peripheral/" + vcpus_[i];
        places.push_back(std::move(place));
      }
      done(id, places);
    } else if (name == "device_add" && arguments.contains("core-id")) {
      const auto core = static_cast<std::size_t>(arguments.at("core-id").as_int64());
      if (argument("driver") != "qemu64-x86_64-cpu" || core == 0 || core >= vcpus_.size())
        return refuse(id, "GenericError", "there is no such place");
      if (!vcpus_[core].empty()) return refuse(id, "GenericError", "CPU already exists");
      vcpus_[core] = argument("id");
      done(id);
    } else if (name == "device_del" && argument("id").starts_with("vcpu-")) {
      if (std::find(vcpus_.begin(), vcpus_.end(), argument("id")) == vcpus_.end())
        return refuse(id, "DeviceNotFound", "Device '" + argument("id") + "' not found");
      if (!deleting_.insert(argument("id")).second)
        return refuse(id, "GenericError",
                      "Device " + argument("id") + " is already in the process of unplug");
      done(id);
      ask_guest_to_let_go(argument("id"));
    } else if (name == "device_add") {
      if (backends_.count(argument("memdev")) == 0)
        return refuse(id, "GenericError", "object '" + argument("memdev") + "' not found");
      devices_[argument("id")] = next_address_;
      next_address_ += 128 << 20;
      done(id);
    } else if (name == "getfd") {
      if (passed_ < 0) return refuse(id, "GenericError", "No file descriptor supplied via SCM_RIGHTS");
      const auto old = named_.find(argument("fdname"));
      if (old != named_.end()) ::close(old->second);
      named_[argument("fdname")] = std::exchange(passed_, -1);
      done(id);
    } else if (name == "ringbuf-read") {
      if (has("no-console") || argument("device") != "console" || argument("format") != "base64")
        return refuse(id, "GenericError", "Device 'console' not found");
      done(id, json::value(std::exchange(console_, {})));
    } else if (name == "dump-guest-memory") {
      dump(id, arguments);
    } else if (name == "device_del") {
      if (devices_.count(argument("id")) == 0)
        return refuse(id, "DeviceNotFound", "Device '" + argument("id") + "' not found");
      done(id);
      ask_guest_to_let_go(argument("id"));
    } else if (name == "object-del") {
      if (backends_.erase(argument("id")) == 0)
        return refuse(id, "GenericError", "object '" + argument("id") + "' not found");
      done(id);
    } else {
      done(id);
    }
  }

  void dump(const json::value& id, const json::object& arguments) {
    const std::string protocol(arguments.at("protocol").as_string());
    const auto named = named_.find(protocol.substr(protocol.find(':') + 1));
    if (!protocol.starts_with("fd:") || named == named_.end())
      return refuse(id, "GenericError", "No file descriptor named " + protocol);
    const std::string text = json::serialize(arguments) + "\n";
    (void)!::write(named->second, text.data(), text.size());
    ::close(named->second);
    named_.erase(named);
    done(id);
    if (has("dump-hangs")) return;
    if (has("dump-fails"))
      return event("DUMP_COMPLETED",
                   R"({"result": {"status": "failed"}, "error": "dump: failed to save memory"})");
    event("DUMP_COMPLETED", R"({"result": {"status": "completed", "total": 1, "completed": 1}})");
  }

  void ask_guest_to_let_go(const std::string& device) {
    if (has("deaf")) return;
    const std::string ost = R"({"info": {"device": ")" + device +
                            R"(", "slot": "0", "slot-type": "DIMM", "source": 3, "status": )";
    event("ACPI_DEVICE_OST", ost + "132}}");
    if (has("refusing")) return event("ACPI_DEVICE_OST", ost + "130}}");
    deleted(device);
  }
  void deleted(const std::string& device) {
    devices_.erase(device);
    deleting_.erase(device);
    std::replace(vcpus_.begin(), vcpus_.end(), device, std::string());
    if (has("lapic-only"))
      return event("DEVICE_DELETED", R"({"path": "/machine/peripheral/)" + device + "/lapic\"}");
    event("DEVICE_DELETED",
          R"({"device": ")" + device + R"(", "path": "/machine/peripheral/)" + device + "\"}");
  }

  // What a QEMU that its guest has taken over could write over its own command line.
  static void rename(const std::string& name) {
    char* argument = program_invocation_name;  // argv[0]; the others follow it
    while (std::string_view(argument) != "-name") argument += std::strlen(argument) + 1;
    argument += sizeof "-name";
    const std::size_t room = std::strlen(argument);
    std::memset(argument, ' ', room);
    std::memcpy(argument, name.data(), std::min(room, name.size()));
  }

  // What a QEMU that its guest has taken over would try.
  void answer_open(const std::string& path) const {
    std::string result;
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
      result = "opened";
      ::close(file);
    } else {
      const int error = errno;
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      path.copy(address.sun_path, sizeof address.sun_path - 1);
      const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const bool connected = ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
      ::close(socket);
      result = connected ? "connected" : std::strerror(error);
    }
    result += "\n";
    (void)!::write(control_, result.data(), result.size());
  }

  void order(const std::string& line) {
    std::istringstream words(line);
    std::string word;
    std::string detail;
    words >> word >> detail;
    if (word == "panic") {
      status_ = "guest-panicked";
      event("GUEST_PANICKED", R"({"action": "pause"})");
      event("STOP", "{}");
    } else if (word == "shutdown") {
      status_ = "shutdown";
      event("SHUTDOWN", R"({"guest": true, "reason": ")" + detail + "\"}");
      event("STOP", "{}");
    } else if (word == "stop") {
      status_ = detail;
      event("STOP", "{}");
    } else if (word == "status") {
      status_ = detail;
    } else if (word == "answer") {
      holding_ = false;
      for (const std::string& each : std::exchange(held_, {})) say(each);
    } else if (word == "backend") {
      backends_.insert(detail);
    } else if (word == "event") {
      event(detail, "{}");
    } else if (word == "writes") {
      console_ = detail;
    } else if (word == "first") {
      std::thread([] { ::pause(); }).detach();
      ::syscall(SYS_exit, 0);
    } else if (word == "name") {
      rename(detail);
      (void)!::write(control_, "renamed\n", 8);
    } else if (word == "open") {
      answer_open(detail);
    } else if (word == "vanish") {
      devices_.erase(detail);
    } else if (word == "deleted") {
      deleted(detail);
    } else if (word == "exit") {
      (void)!::write(STDERR_FILENO, "it is broken\n", 13);
      ::_exit(std::stoi(detail));
    } else if (word == "abort") {
      std::abort();
    }
  }

  std::set<std::string> faults_;
  bool counting_ = false;
  bool kvm_ = false;
  // It outlives a daemon, but not the tests. (By their process: a signal at the parent's death would come at
  // that of the thread which started it.)
  int tests_ = static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0));
  int monitor_ = -1;
  int control_ = -1;
  std::string monitor_input_;
  std::string control_input_;
  bool holding_ = false;
  std::vector<std::string> held_;         // said when somebody orders it
  std::map<int, std::string> listeners_;  // with their lines of `info usernet`
  int passed_ = -1;
  std::map<std::string, int> named_;  // by getfd
  std::string status_ = "running";
  std::string console_;
  std::set<std::string> backends_;
  std::map<std::string, std::uint64_t> devices_;
  std::vector<std::string>
      vcpus_;  // by core: the name of the application's vCPU in it; the first is the base
  std::set<std::string> deleting_;
  std::uint64_t next_address_ = 0x100000000;
};

// Before main(): a test program that was started as QEMU never gets as far as its tests.
[[maybe_unused]] const bool fake_qemu_did_not_run = [] {
  if (std::getenv(kFakeQemuVariable) == nullptr) return true;
  const auto argv = arguments_of(::getpid());
  for (const std::string& argument : argv) {
    if (argument != "-nodefaults") continue;
    ::signal(SIGPIPE, SIG_IGN);  // a monitor may be gone while it is written to, as QEMU knows
    FakeQemu(argv).run();
  }
  return true;
}();

}  // namespace
}  // namespace understudy::qemu
