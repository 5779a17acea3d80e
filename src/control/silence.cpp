#include "control/silence.hpp"

#include "base/units.hpp"
#include "control/run_dir.hpp"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace understudy::control {

namespace {

constexpr const char* kWayOn =
    "`understudy up -f FILE` resumes what it left running, `understudy down` ends it";

std::string user_name(uid_t uid) {
  const passwd* user = ::getpwuid(uid);
  return user != nullptr ? std::string(user->pw_name) : "uid " + std::to_string(uid);
}

// The owner of the nearest thing on the way to `path` that can be looked at and is not everybody's.
std::string owner_text(std::filesystem::path path) {
  struct stat info {};
  while (::stat(path.c_str(), &info) != 0 && path.has_relative_path()) path = path.parent_path();
  return path.has_relative_path() ? path.string() + " belongs to " + user_name(info.st_uid)
                                  : "its directory belongs to another user";
}

std::string state_text(char state, const std::string& pid) {
  const std::string resumes = "`understudy up -f FILE` then resumes, `understudy down` ends everything";
  const std::string end_it = "end it with `kill -KILL " + pid + "`: " + resumes;
  switch (state) {
    case 'T':
      return "it is stopped (state T, by a signal). `kill -CONT " + pid + "` lets it go on; or " + end_it;
    case 't': return "a debugger holds it (state t). Let the debugger go on; or " + end_it;
    case 'D':
      return "it waits inside the kernel (state D: often a disk or a network file system that does not "
             "answer). See `dmesg` and /proc/" +
             pid + "/stack; when that answers again, it goes on";
    case 'Z': return "it has just ended. Ask again";
    default:
      return std::string("it lives (state ") + state +
             "), so this host may be overloaded: see `uptime`. Ask again, with more patience by --timeout; "
             "or " +
             end_it;
  }
}

}  // namespace

std::string nobody_answers(const std::filesystem::path& socket, int error) {
  const std::string dir = socket.parent_path().string();
  if (error == EACCES || error == EPERM) {
    return "permission denied for " + socket.string() + ": " + owner_text(socket) + ", and you are " +
           user_name(::geteuid()) +
           "; ask as that user (sudo), or name a run directory of yours with --run-dir";
  }
  if (error == ECONNREFUSED)
    return "no understudyd runs in " + dir + " any more: it has ended, and left its socket behind. " + kWayOn;
  return "no understudyd answers on " + socket.string() + " (" + std::strerror(error) +
         "); start one with `understudy up -f FILE`, or name its directory with --run-dir";
}

std::string ended_text(std::string_view when) {
  return "understudyd has ended " + std::string(when) + ". " + kWayOn;
}

pid_t pid_in(const std::filesystem::path& run_dir) {
  pid_t pid = 0;
  std::ifstream(RunFiles{run_dir}.daemon_pid()) >> pid;
  if (pid <= 0) return 0;
  std::string name;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/comm"), name);
  return name == "understudyd" ? pid : 0;
}

char process_state(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::size_t behind_name = text.rfind(')');
  return behind_name != std::string::npos && behind_name + 2 < text.size() ? text[behind_name + 2] : '?';
}

std::string silence_text(pid_t daemon, Duration limit) {
  if (daemon <= 0) return "understudyd has not answered within " + format_duration(limit) + "; ask again";
  const std::string pid = std::to_string(daemon);
  return "understudyd (pid " + pid + ") has not answered within " + format_duration(limit) + ": " +
         state_text(process_state(daemon), pid) +
         ". Meanwhile guests and applications run on, but what fails is not taken over";
}

}  // namespace understudy::control
