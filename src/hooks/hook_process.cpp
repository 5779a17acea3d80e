#include "hooks/hook_process.hpp"

#include "base/doing.hpp"
#include "base/inherited_state.hpp"
#include "base/units.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace understudy::hooks {

namespace asio = boost::asio;

namespace {

constexpr int kMostReadsAtTheEnd = 32;

struct Child {
  char* const* argv;
  char* const* environment;
  int input;
  int output;
};

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const std::string& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

void say(const char* text) {
  (void)!::write(STDERR_FILENO, text, std::strlen(text));
}

// Between fork and exec: nothing but system calls, because the daemon has other threads.
[[noreturn]] void become(const Child& child) {
  ::setpgid(0, 0);
  become_ordinary_child();
  if (::dup2(child.input, STDIN_FILENO) >= 0 && ::dup2(child.output, STDOUT_FILENO) >= 0 &&
      ::dup2(child.output, STDERR_FILENO) >= 0) {
    ::close_range(3, ~0U, 0);
    ::execve(child.argv[0], child.argv, child.environment);
  }
  const char* why = ::strerrordesc_np(errno);
  say("it cannot be run: ");
  say(why != nullptr ? why : "unknown error");
  ::_exit(127);
}

// A file in memory: a command that does not read its input holds up nobody.
UniqueFd input_of(const std::string& text) {
  UniqueFd fd(::memfd_create("hook-input", MFD_CLOEXEC));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::lseek(fd.get(), 0, SEEK_SET) != 0)
    return {};
  return fd;
}

std::string describe(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED)
    return info.si_status == 0 ? "" : "exit status " + std::to_string(info.si_status);
  const char* name = ::sigabbrev_np(info.si_status);
  return "killed by signal " + std::to_string(info.si_status) +
         (name != nullptr ? " (SIG" + std::string(name) + ")" : "");
}

}  // namespace

Result<std::unique_ptr<HookProcess>> HookProcess::start(asio::io_context& loop, const HookCommand& command,
                                                        Done done) {
  const Doing doing("starting a hook");
  const auto cannot = [] { return failure(std::string("it cannot be started: ") + std::strerror(errno)); };
  const UniqueFd input = input_of(command.input);
  std::array<int, 2> pipe{-1, -1};
  if (!input || ::pipe2(pipe.data(), O_CLOEXEC) != 0) return cannot();
  UniqueFd from_child(pipe[0]);
  const UniqueFd to_us(pipe[1]);
  if (::fcntl(from_child.get(), F_SETFL, O_NONBLOCK) != 0) return cannot();
  const std::vector<char*> argv = pointers(command.argv);
  const std::vector<char*> environment = pointers(command.environment);
  const pid_t pid = ::fork();
  if (pid < 0) return cannot();
  if (pid == 0) become({argv.data(), environment.data(), input.get(), to_us.get()});
  ::setpgid(pid, pid);  // whoever of the two comes first
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    const auto failed = cannot();
    ::kill(-pid, SIGKILL);  // a child that was not waited for: the pid is still its own
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return failed;
  }
  return std::unique_ptr<HookProcess>(
      new HookProcess(loop, pid, std::move(pidfd), std::move(from_child), command.limit, std::move(done)));
}

HookProcess::HookProcess(asio::io_context& loop, pid_t pid, UniqueFd pidfd, UniqueFd output, Duration limit,
                         Done done)
    : pid_(pid),
      pidfd_(loop, pidfd.release()),
      output_(loop, output.release()),
      timer_(loop),
      limit_(limit),
      done_(std::move(done)) {
  watch();
  listen();
  timer_.expires_after(limit);
  timer_.async_wait([this, alive = alive_](auto error) {
    if (error || !*alive) return;
    late_ = true;
    kill_group();
  });
}

HookProcess::~HookProcess() {
  *alive_ = false;
  if (reaped_) return;
  kill_group();
  // Killed, it ends at once, unless the kernel keeps it; then it is left to whoever adopts it.
  pollfd end{pidfd_.native_handle(), POLLIN, 0};
  if (::poll(&end, 1, 100) == 1) ::waitpid(pid_, nullptr, WNOHANG);
}

void HookProcess::watch() {
  pidfd_.async_wait(asio::posix::stream_descriptor::wait_read, [this, alive = alive_](auto error) {
    if (error || !*alive) return;
    // Asio may complete a wait with an event of a former descriptor; only the kernel's word counts.
    pollfd end{pidfd_.native_handle(), POLLIN, 0};
    if (::poll(&end, 1, 0) != 1) return watch();
    ended();
  });
}

void HookProcess::listen() {
  output_.async_wait(asio::posix::stream_descriptor::wait_read, [this, alive = alive_](auto error) {
    if (error || !*alive) return;
    pollfd more{output_.native_handle(), POLLIN, 0};
    const bool ready = ::poll(&more, 1, 0) == 1;
    if (ready && !read_some()) return;
    listen();
  });
}

bool HookProcess::read_some() {
  std::array<char, 4096> chunk{};
  const ssize_t count = ::read(output_.native_handle(), chunk.data(), chunk.size());
  if (count <= 0) return count < 0 && errno == EINTR;
  tail_.append(chunk.data(), static_cast<std::size_t>(count));
  if (tail_.size() > kKeptBytes) tail_.erase(0, tail_.size() - kKeptBytes);
  return true;
}

// It leads its group and has not been waited for: the id is still its own.
void HookProcess::kill_group() const {
  ::kill(-pid_, SIGKILL);
}

void HookProcess::ended() {
  timer_.cancel();
  for (int i = 0; i < kMostReadsAtTheEnd && read_some(); ++i) {
  }
  kill_group();  // what it left in the background: a hook ends with its command
  siginfo_t info{};
  ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.native_handle()), &info,
           WEXITED | WNOHANG);
  reaped_ = true;
  std::string failed = describe(info);
  if (late_) failed = "killed: it ran for more than " + format_duration(limit_);
  const std::string line = last_line();
  if (!failed.empty() && !line.empty()) failed += "; its last words: " + line;
  // A local copy: the callee may destroy this object.
  const Done done = std::exchange(done_, {});
  done(failed);
}

// Made harmless for a terminal.
std::string HookProcess::last_line() const {
  std::string text = tail_;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\r')) text.pop_back();
  if (const auto start = text.rfind('\n'); start != std::string::npos) text.erase(0, start + 1);
  if (text.size() > kLongestLine) text.resize(kLongestLine);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace understudy::hooks
