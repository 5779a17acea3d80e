#include "qemu/guest_files.hpp"

#include "qemu/proc.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <system_error>

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMostSocketPathBytes = sizeof(sockaddr_un::sun_path) - 1;
constexpr std::size_t kMostLogLineBytes = 300;
constexpr off_t kLogTailBytes = 4096;
constexpr int kBacklog = 4;

Result<void> make_directory(const fs::path& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return failure("cannot make the directory " + path.string() + ": " + std::strerror(errno));
}

// Whatever a guest's directory holds of ours: by name, and nothing else that may be there.
void remove_files_in(const fs::path& directory) {
  for (const std::string_view name : kGuestFileNames) ::unlink((directory / name).c_str());
  ::rmdir(directory.c_str());
}

}  // namespace

Result<GuestFiles> GuestFiles::at(const fs::path& run_dir, const std::string& guest) {
  const fs::path directory = run_dir / "guests" / guest;
  GuestFiles files{directory,
                   directory / "qmp.sock",
                   directory / "agent.sock",
                   directory / "qemu.log",
                   directory / "definition",
                   directory / "pid"};
  const std::size_t longest = std::max(files.qmp_socket.native().size(), files.agent_socket.native().size());
  if (longest > kMostSocketPathBytes)
    return failure("the path of guest " + guest + "'s socket, " + files.agent_socket.string() + ", has " +
                   std::to_string(longest) + " bytes, but the kernel allows only " +
                   std::to_string(kMostSocketPathBytes) +
                   "; use a shorter --run-dir or a shorter guest name");
  return files;
}

Result<void> GuestFiles::prepare() const {
  if (auto ok = make_directory(directory.parent_path()); !ok) return ok;
  if (auto ok = make_directory(directory); !ok) return ok;
  for (const fs::path& file : {qmp_socket, agent_socket, definition, pid}) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT)
      return failure("cannot remove " + file.string() + ": " + std::strerror(errno));
  }
  if (::rename(log.c_str(), (log.string() + ".old").c_str()) != 0 && errno != ENOENT)
    return failure("cannot put aside " + log.string() + ": " + std::strerror(errno));
  return {};
}

bool WrittenProcess::lives() const {
  const auto stat = process_stat(pid);
  return stat && start_ticks != 0 && stat->start_ticks == start_ticks && !all_threads_over(pid);
}

Result<void> GuestFiles::write_process(pid_t process, std::uint32_t run) const {
  const auto stat = process_stat(process);
  std::ostringstream text;
  text << process << ' ' << run << ' ' << (stat ? stat->start_ticks : 0) << ' ' << boot_id() << '\n';
  const std::string line = text.str();
  const UniqueFd fd(::open(pid.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd || ::write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return failure("cannot write " + pid.string() + ": " + std::strerror(errno));
  return {};
}

std::optional<WrittenProcess> GuestFiles::read_process() const {
  std::istringstream text(read_proc_file(pid));
  WrittenProcess written;
  if (!(text >> written.pid) || written.pid <= 1 || written.pid > (1 << 30)) return std::nullopt;
  std::string boot;
  if (!(text >> written.run >> written.start_ticks >> boot)) return WrittenProcess{written.pid, 0, 0};
  if (boot != boot_id()) return std::nullopt;
  return written;
}

std::string GuestFiles::last_log_line() const {
  const UniqueFd fd(::open(log.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return "";
  std::string text(kLogTailBytes, '\0');
  const ssize_t count =
      ::pread(fd.get(), text.data(), text.size(), std::max<off_t>(0, info.st_size - kLogTailBytes));
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, count)));
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  if (const auto start = text.rfind('\n'); start != std::string::npos) text.erase(0, start + 1);
  if (text.size() > kMostLogLineBytes) text.resize(kMostLogLineBytes);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

void GuestFiles::remove(bool keep_logs) const {
  for (const fs::path& file : {qmp_socket, agent_socket, pid}) ::unlink(file.c_str());
  if (!keep_logs) remove_files_in(directory);
}

std::vector<std::string> guests_with_files(const fs::path& run_dir) {
  std::error_code error;
  std::vector<std::string> guests;
  for (fs::directory_iterator each(run_dir / "guests", error), end; !error && each != end;
       each.increment(error)) {
    std::error_code ignored;
    if (each->is_directory(ignored) && !each->is_symlink(ignored))
      guests.push_back(each->path().filename().string());
  }
  return guests;
}

Result<void> remove_all_guest_files(const fs::path& run_dir) {
  const fs::path guests = run_dir / "guests";
  for (const std::string& guest : guests_with_files(run_dir)) remove_files_in(guests / guest);
  if (::rmdir(guests.c_str()) == 0 || errno == ENOENT) return {};
  return failure("cannot remove " + guests.string() + ": " + std::strerror(errno) +
                 "; what is in it beside Understudy's own files is left alone");
}

Result<UniqueFd> listen_on(const fs::path& socket) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() > kMostSocketPathBytes)
    return failure("the socket path " + socket.string() + " is too long; use a shorter --run-dir");
  socket.native().copy(address.sun_path, kMostSocketPathBytes);
  const auto* const plain = reinterpret_cast<const sockaddr*>(&address);
  if (!fd || ::bind(fd.get(), plain, sizeof address) != 0 || ::listen(fd.get(), kBacklog) != 0)
    return failure("cannot listen on " + socket.string() + ": " + std::strerror(errno));
  return fd;
}

}  // namespace understudy::qemu
