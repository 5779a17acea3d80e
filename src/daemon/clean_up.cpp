#include "daemon/clean_up.hpp"

#include "base/bounded_file.hpp"
#include "control/claim.hpp"
#include "control/run_dir.hpp"
#include "gateway/gateway_client.hpp"
#include "pool/area_pool.hpp"
#include "qemu/marker.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace understudy::daemon {

Result<UniqueFd> lock_run_dir(const std::filesystem::path& run_dir) {
  const auto file = control::RunFiles{run_dir}.lock();
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return failure("cannot use the run directory " + run_dir.string() + ": " + std::strerror(errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return failure("another understudyd runs in " + run_dir.string() +
                   "; end it with `understudy down`, or choose another --run-dir");
  }
  return fd;
}

namespace {

// A file or a socket, never a directory: what is below a name of ours without being ours stays.
Result<void> remove_file(const std::filesystem::path& file) {
  if (::unlink(file.c_str()) == 0 || errno == ENOENT || errno == EISDIR) return {};
  return failure("cannot remove " + file.string() + ": " + std::strerror(errno));
}

std::vector<std::filesystem::path> files_of_ours(const control::RunFiles& files) {
  const auto fresh = [](const std::filesystem::path& file) {
    return std::filesystem::path(file.string() + ".new");
  };
  std::vector<std::filesystem::path> all;
  for (const auto& file : {files.journal(), files.maintenance(), files.proofs(), files.reports()}) {
    all.push_back(file);
    all.push_back(fresh(file));
  }
  for (const auto& file : {files.events(), files.daemon_log(), files.gateway_log()}) {
    all.push_back(file);
    all.push_back(BoundedFile::old_of(file));
    all.push_back(BoundedFile::fresh_old_of(file));
  }
  for (const auto& file : {files.control_socket(), files.gateway_socket(), files.dir / "understudyd.pid",
                           files.dir / pool::kPoolFile, files.dir / qemu::kUsersFile, files.lock()})
    all.push_back(file);
  return all;
}

}  // namespace

Result<void> remove_all(const std::filesystem::path& run_dir) {
  const control::RunFiles files{run_dir};
  if (Result<void> ours = control::check_claimed(run_dir); !ours) return ours;
  const auto ended = qemu::end_all(run_dir);
  if (!ended) return tl::unexpected(ended.error());
  // Without a socket nobody can have listened on it, were it only because its path is too long.
  std::error_code error;
  if (std::filesystem::exists(files.gateway_socket(), error)) {
    if (Result<void> gone = gateway::end_gateway(files.gateway_socket()); !gone) return gone;
  }
  if (Result<void> removed = pool::AreaPool::remove(run_dir); !removed) return removed;
  for (const auto& file : files_of_ours(files)) {
    if (Result<void> removed = remove_file(file); !removed) return removed;
  }
  return control::unclaim(run_dir);
}

void cut_back_logs(const std::filesystem::path& run_dir) {
  (void)cut_back(control::RunFiles{run_dir}.gateway_log(), kMostLogBytes, kKeptLogBytes);
  std::error_code error;
  for (std::filesystem::directory_iterator each(run_dir / "guests", error), end; !error && each != end;
       each.increment(error))
    (void)cut_back(each->path() / "qemu.log", kMostLogBytes, kKeptLogBytes);
}

}  // namespace understudy::daemon
