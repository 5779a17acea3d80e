#include "daemon/clean_up.hpp"

#include "control/run_dir.hpp"
#include "gateway/gateway_client.hpp"
#include "pool/area_pool.hpp"
#include "qemu/marker.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace understudy::daemon {

namespace {

// Two lines: the kind of backing, and the directory that the configuration named (or nothing).
constexpr const char* kPoolFile = "pool";
constexpr const char* kTmpfs = "tmpfs";
constexpr const char* kHugetlbfs = "hugetlbfs";

}  // namespace

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

std::optional<config::Pool> remembered_pool(const std::filesystem::path& run_dir) {
  config::Pool pool;
  std::ifstream file(run_dir / kPoolFile);
  std::string backing;
  std::string directory;
  if (!std::getline(file, backing)) return std::nullopt;
  std::getline(file, directory);
  if (backing == kHugetlbfs) pool.backing = config::Backing::hugetlbfs;
  pool.directory = directory;
  return pool;
}

Result<void> remember_pool(const std::filesystem::path& run_dir, const config::Pool& pool) {
  std::ofstream file(run_dir / kPoolFile);
  file << (pool.backing == config::Backing::hugetlbfs ? kHugetlbfs : kTmpfs) << '\n'
       << pool.directory.string() << '\n';
  file.flush();
  if (!file) return failure("cannot write " + (run_dir / kPoolFile).string());
  return {};
}

Result<void> remove_all(const std::filesystem::path& run_dir) {
  const control::RunFiles files{run_dir};
  const auto ended = qemu::end_all(run_dir);
  if (!ended) return tl::unexpected(ended.error());
  if (Result<void> gone = gateway::end_gateway(files.gateway_socket()); !gone) return gone;
  if (Result<void> removed =
          pool::AreaPool::remove(remembered_pool(run_dir).value_or(config::Pool{}), run_dir);
      !removed)
    return removed;
  // Only what is ours: a run directory that somebody else also uses keeps the rest.
  std::error_code error;
  for (const auto& file :
       {files.journal(), std::filesystem::path(files.journal().string() + ".new"), files.events(),
        files.maintenance(), std::filesystem::path(files.maintenance().string() + ".new"), files.proofs(),
        std::filesystem::path(files.proofs().string() + ".new"), files.control_socket(),
        files.gateway_socket(), files.gateway_log(), files.daemon_log(), run_dir / "understudyd.pid",
        run_dir / kPoolFile, run_dir / qemu::kUsersFile, run_dir / "guests", files.lock()}) {
    std::filesystem::remove_all(file, error);
    if (error) return failure("cannot remove " + file.string() + ": " + error.message());
  }
  std::filesystem::remove(run_dir, error);
  if (error == std::errc::directory_not_empty) {
    return failure(run_dir.string() + " has files that are not Understudy's; they are left alone");
  }
  if (error) return failure("cannot remove " + run_dir.string() + ": " + error.message());
  return {};
}

}  // namespace understudy::daemon
