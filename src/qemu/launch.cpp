#include "qemu/launch.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

Result<UniqueFd> open_image(const char* kind, const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd)
    return failure(std::string("cannot open the ") + kind + " " + path.string() + ": " +
                   std::strerror(errno));
  return fd;
}

// A file that QEMU opens once more, by the name of its descriptor, which asks for permission again.
Result<UniqueFd> open_readable_image(const char* kind, const fs::path& path) {
  auto fd = open_image(kind, path);
  struct stat info {};
  if (!fd || ::fstat(fd->get(), &info) != 0 || (info.st_mode & S_IROTH) != 0) return fd;
  return failure(std::string("the ") + kind + " " + path.string() +
                 " cannot be read by the guest's QEMU, which has a user of its own; `chmod o+r " +
                 path.string() + "`, or write run_as = \"daemon\" in [qemu]");
}

Result<UniqueFd> nothing() {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!fd) return failure(std::string("cannot open /dev/null: ") + std::strerror(errno));
  return fd;
}

// Of what a QEMU writes (its log, a crash dump) and what it has open and could make longer (its areas).
Bytes largest_file_bytes(const GuestPlan& plan) {
  return std::max(plan.area_bytes, plan.base_bytes + kMostBeyondBase);
}

// In the order of command_line.hpp.
Result<void> add_descriptors_for_user(Launch& launch, const config::Image& image, int areas) {
  auto kernel = open_readable_image("kernel", image.kernel);
  if (!kernel) return failure(kernel.error().message);
  auto initramfs = open_readable_image("initramfs", image.initramfs);
  if (!initramfs) return failure(initramfs.error().message);
  auto disk = image.disk.empty() ? nothing() : open_image("disk", image.disk);
  if (!disk) return failure(disk.error().message);
  auto no_areas = nothing();
  if (!no_areas) return failure(no_areas.error().message);
  for (const int fd : {kernel->get(), initramfs->get(), disk->get(), areas >= 0 ? areas : no_areas->get()})
    launch.spec.fds.push_back(fd);
  for (Result<UniqueFd>* each : {&kernel, &initramfs, &disk, &no_areas})
    launch.held.push_back(std::move(**each));
  return {};
}

}  // namespace

Result<Launch> make_launch(const Qemu& qemu, const GuestPlan& plan, const Marker& marker,
                           const GuestFiles& files, int areas) {
  if (auto ok = files.prepare(); !ok) return failure(ok.error().message);
  auto qmp = listen_on(files.qmp_socket);
  if (!qmp) return failure(qmp.error().message);
  auto agent = listen_on(files.agent_socket);
  if (!agent) return failure(agent.error().message);
  const ImageAccess access = plan.user ? ImageAccess::by_descriptor : ImageAccess::by_path;
  Launch launch{{command_line(qemu, plan, marker, access),
                 files.log,
                 {qmp->get(), agent->get()},
                 plan.user,
                 qemu.own_network,
                 largest_file_bytes(plan)},
                {}};
  launch.held.push_back(std::move(*qmp));
  launch.held.push_back(std::move(*agent));
  if (!plan.user) return launch;
  if (auto ok = remember_user(marker.run_dir, plan.user->uid); !ok) return failure(ok.error().message);
  if (auto ok = add_descriptors_for_user(launch, plan.image, areas); !ok) return failure(ok.error().message);
  return launch;
}

}  // namespace understudy::qemu
