#include "qemu/accelerator.hpp"

#include "base/unique_fd.hpp"
#include "base/units.hpp"
#include "qemu/guest_files.hpp"
#include "qemu/launch.hpp"
#include "qemu/marker.hpp"
#include "qemu/proc.hpp"
#include "qemu/qemu_process.hpp"
#include "qemu/run_definition.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kTrialGuest = "accelerator-trial";
constexpr Bytes kTrialBytes = 256_MiB;
// A QEMU that hangs in a broken KVM may not even die at once; the daemon does not wait for it longer.
constexpr auto kEndLimit = std::chrono::seconds(1);
constexpr auto kQuestionLimit = std::chrono::seconds(5);
constexpr const char* kFirmware[] = {"/usr/share/qemu/qboot.rom", "/usr/share/qemu-kvm/qboot.rom",
                                     "/usr/lib/qemu/qboot.rom"};

int poll_timeout(Clock::time_point deadline) {
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(rest, 0, 1'000'000));
}

// A child process that is ended when this goes out of scope, however it is.
class TrialProcess final {
 public:
  explicit TrialProcess(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  TrialProcess(const TrialProcess&) = delete;
  TrialProcess& operator=(const TrialProcess&) = delete;
  ~TrialProcess() {
    if (!reaped_) ::kill(pid_, SIGKILL);  // not reaped: the pid is still its own
    (void)await(Clock::now() + kEndLimit);
  }

  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  // How it ended; nothing if it has not by then.
  std::optional<std::string> await(Clock::time_point deadline) {
    if (reaped_) return how_;
    pollfd end{pidfd_.get(), POLLIN, 0};
    while (::poll(&end, 1, poll_timeout(deadline)) < 0 && errno == EINTR) {
    }
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0 || info.si_pid != pid_)
      return std::nullopt;
    reaped_ = true;
    how_ = describe_exit(info.si_code, info.si_status);
    return how_;
  }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  bool reaped_ = false;
  std::string how_;
};

Result<UniqueFd> connect_to(const fs::path& socket) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.native().copy(address.sun_path, sizeof address.sun_path - 1);
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failure("cannot connect to " + socket.string() + ": " + std::strerror(errno));
  return fd;
}

// Reads until a line has come (true), or the process or the time is over.
bool await_line(int agent, TrialProcess& child, Clock::time_point deadline) {
  pollfd watched[2] = {{agent, POLLIN, 0}, {child.pidfd(), POLLIN, 0}};
  while (Clock::now() < deadline) {
    if (::poll(watched, 2, poll_timeout(deadline)) <= 0) continue;
    if (watched[0].revents != 0) {
      char bytes[4096];
      const ssize_t count = ::read(agent, bytes, sizeof bytes);
      if (count > 0 && std::memchr(bytes, '\n', static_cast<std::size_t>(count)) != nullptr) return true;
      if (count == 0) watched[0].fd = -1;  // QEMU closed it: its end tells more
      if (count < 0 && errno != EAGAIN && errno != EINTR) watched[0].fd = -1;
    }
    if (watched[1].revents != 0) return false;
  }
  return false;
}

// Why KVM is of no use; nothing if a guest booted on it.
Result<void> boot_under_kvm(Qemu qemu, const config::Image& image, const fs::path& run_dir, Duration limit,
                            const std::optional<HostUser>& user) {
  const auto files = GuestFiles::at(run_dir, kTrialGuest);
  if (!files) return failure(files.error().message);
  struct Cleaning {
    const GuestFiles& files;
    ~Cleaning() { files.remove(false); }
  } const cleaning{*files};
  qemu.accelerator = Accelerator::kvm;
  GuestPlan plan;
  plan.name = kTrialGuest;
  plan.base_bytes = kTrialBytes;
  plan.image = image;
  plan.user = user;
  const auto launch = make_launch(qemu, plan, {run_dir, plan.name, 0}, *files, -1);
  if (!launch) return failure(launch.error().message);
  const auto deadline = Clock::now() + limit;
  const auto pid = spawn_process(launch->spec);
  if (!pid) return failure(pid.error().message);
  TrialProcess child(*pid);
  const auto socket = connect_to(files->agent_socket);
  if (!socket) return failure(socket.error().message);
  if (await_line(socket->get(), child, deadline)) return {};
  if (const auto how = child.await(Clock::now())) {
    const std::string words = files->last_log_line();
    return failure("QEMU ended when it booted a guest on it (" + *how + (words.empty() ? "" : ": " + words) +
                   ")");
  }
  return failure("a guest that was booted on it said nothing within " + format_duration(limit));
}

std::optional<std::string> why_not_openable(const fs::path& device) {
  const UniqueFd fd(::open(device.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (fd) return std::nullopt;
  if (errno == ENOENT) return "there is no " + device.string();
  if (errno == EACCES || errno == EPERM)
    return "this user may not open " + device.string() + " (join the group kvm to change that)";
  return device.string() + " cannot be opened: " + std::strerror(errno);
}

bool has_sandbox(const std::string& program) {
  const SpawnSpec spec{
      {program, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
       "-machine", "none", "-device", "help"},
      "/dev/null",
      {}};
  const auto pid = spawn_process(spec);
  if (!pid) return false;
  TrialProcess child(*pid);
  return child.await(Clock::now() + kQuestionLimit) == "exit status 0";
}

// Which supplementary groups a user of its own needs for KVM.
Result<std::vector<gid_t>> groups_for(const fs::path& device) {
  struct stat info {};
  if (::stat(device.c_str(), &info) != 0)
    return failure(device.string() + " cannot be looked at: " + std::strerror(errno));
  constexpr mode_t kGroup = S_IRGRP | S_IWGRP;
  constexpr mode_t kOthers = S_IROTH | S_IWOTH;
  if ((info.st_mode & kOthers) == kOthers) return std::vector<gid_t>{};
  if ((info.st_mode & kGroup) == kGroup && info.st_gid != 0) return std::vector<gid_t>{info.st_gid};
  return failure(
      device.string() + " is open to root alone, and guests' QEMUs have users of their own; `chgrp kvm " +
      device.string() + " && chmod 0660 " + device.string() + "`, or write run_as = \"daemon\" in [qemu]");
}

}  // namespace

Result<AcceleratorChoice> choose_accelerator(const Qemu& qemu, config::Accelerator wish,
                                             const config::Image& image, const fs::path& run_dir,
                                             Duration limit, const fs::path& kvm_device,
                                             std::optional<HostUser> trial_user,
                                             std::optional<Accelerator> former) {
  if (wish == config::Accelerator::tcg)
    return AcceleratorChoice{Accelerator::tcg, "the configuration says so", {}, {}};
  const auto began = Clock::now();
  std::vector<gid_t> groups;
  const auto choice = [began, &groups](Accelerator accelerator, std::string reason) {
    return AcceleratorChoice{accelerator, std::move(reason),
                             std::chrono::duration_cast<Duration>(Clock::now() - began),
                             accelerator == Accelerator::kvm ? groups : std::vector<gid_t>{}};
  };
  auto why_not = why_not_openable(kvm_device);
  if (trial_user && !why_not) {
    auto needed = groups_for(kvm_device);
    if (needed)
      trial_user->groups = groups = *needed;
    else
      why_not = needed.error().message;
  }
  if (wish == config::Accelerator::kvm) {
    if (why_not) return failure("accelerator = \"kvm\" is configured, but " + *why_not);
    return choice(Accelerator::kvm, "the configuration says so");
  }
  if (why_not) return choice(Accelerator::tcg, *why_not);
  if (former) {
    return choice(*former, *former == Accelerator::kvm
                               ? "the guests of the former daemon run on it"
                               : "the guests of the former daemon run so; KVM is tried again after "
                                 "`understudy down`");
  }
  if (auto booted = boot_under_kvm(qemu, image, run_dir, limit, trial_user); !booted)
    return choice(Accelerator::tcg, kvm_device.string() + " is there, but " + booted.error().message);
  auto found = choice(Accelerator::kvm, "");
  found.reason = fmt::format("a guest booted on it in {:.0f} ms", to_ms(found.took));
  return found;
}

std::optional<Accelerator> former_accelerator(const fs::path& run_dir, const std::vector<GuestPlan>& guests) {
  std::optional<Accelerator> latest;
  fs::file_time_type latest_at{};
  for (const GuestPlan& guest : guests) {
    const auto files = GuestFiles::at(run_dir, guest.name);
    const auto written = files ? read_definition(files->definition) : std::nullopt;
    std::error_code error;
    const auto at = written ? fs::last_write_time(files->definition, error) : fs::file_time_type{};
    if (!written || error || (latest && at < latest_at)) continue;
    latest = written->accelerator;
    latest_at = at;
  }
  if (latest) return latest;
  for (const FoundProcess& process : find_processes(run_dir))
    return definition_of_arguments(arguments_of(process.pid), process.marker.run, {}).accelerator;
  return std::nullopt;
}

Result<Qemu> find_qemu(const std::string& program) {
  if (!find_program(program))
    return failure("QEMU (" + program + ") is not installed; Debian: apt install qemu-system-x86");
  Qemu qemu;
  qemu.program = program;
  qemu.sandbox = has_sandbox(program);
  for (const char* firmware : kFirmware) {
    if (::access(firmware, R_OK) != 0) continue;
    qemu.firmware = firmware;
    break;
  }
  return qemu;
}

}  // namespace understudy::qemu
