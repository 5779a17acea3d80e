// The same against a real QEMU and a real guest. Needs a guest image, which takes minutes to build, so it
// runs where one is named: UNDERSTUDY_TEST_IMAGE=DIR with vmlinux, initramfs.cpio and apps.squashfs in it.
#include "loop.hpp"
#include "qemu/accelerator.hpp"
#include "qemu/qemu_hypervisor.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

namespace understudy::qemu {
namespace {

using namespace core::event;
using core::AreaId;
using core::GuestRun;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr AreaId kTwoAreas[] = {{0}, {1}};
constexpr std::chrono::seconds kBootLimit{120};

struct RealQemuTest : testing::Test {
  TemporaryDirectory directory;
  Loop loop;
  std::vector<core::Event> events;
  std::unique_ptr<pool::AreaPool> pool;
  std::unique_ptr<QemuHypervisor> hypervisor;
  QemuHypervisor::Settings settings;
  std::map<GuestRun, UniqueFd> agents;

  void SetUp() override {
    const char* image = std::getenv("UNDERSTUDY_TEST_IMAGE");
    if (image == nullptr) GTEST_SKIP() << "UNDERSTUDY_TEST_IMAGE does not name a guest image";
    auto qemu = find_qemu();
    ASSERT_TRUE(qemu) << qemu.error().message;
    const std::filesystem::path path(image);
    const config::Image files{path / "vmlinux", path / "initramfs.cpio", path / "apps.squashfs"};
    const auto choice = choose_accelerator(*qemu, config::Accelerator::automatic, files, directory.path);
    ASSERT_TRUE(choice) << choice.error().message;
    qemu->accelerator = choice->accelerator;
    config::Pool config;
    auto made = pool::AreaPool::create(config, directory.path, 2, loop.context, {});
    ASSERT_TRUE(made) << made.error().message;
    pool = std::move(*made);
    settings.run_dir = directory.path;
    settings.qemu = *qemu;
    for (const char* name : {"a", "b"})
      settings.guests.push_back(
          {name, 128_MiB, 128_MiB, 2, 1, 0, files, "default", {{"redis", 6379}}, {6379}});
    make_hypervisor();
  }
  void TearDown() override {
    hypervisor.reset();
    pool.reset();
    EXPECT_TRUE(end_all(directory.path));
    EXPECT_TRUE(pool::AreaPool::remove(directory.path));
  }
  void make_hypervisor() {
    hypervisor.reset();
    auto made = QemuHypervisor::create(loop.context, settings, *pool,
                                       [this](core::Event event) { events.push_back(std::move(event)); });
    ASSERT_TRUE(made) << made.error().message;
    hypervisor = std::move(*made);
  }

  template <class E>
  E await(GuestRun run, std::size_t count = 1) {
    std::vector<E> found;
    EXPECT_TRUE(loop.until(
        [&] {
          found.clear();
          for (const core::Event& event : events) {
            if (const auto* each = std::get_if<E>(&event); each != nullptr && each->run == run)
              found.push_back(*each);
          }
          return found.size() >= count;
        },
        kBootLimit))
        << "the event did not come";
    return found.empty() ? E{} : found.back();
  }
  // Until its agent has said something: then its kernel, its modules and its port are there.
  void boot(GuestRun run) {
    hypervisor->launch(run);
    (void)await<GuestLaunched>(run);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    hypervisor->agent_socket(run)->native().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0);
    std::string heard;
    EXPECT_TRUE(loop.until(
        [&] {
          loop.run_for(milliseconds(20));
          char bytes[4096];
          const ssize_t count = ::read(fd.get(), bytes, sizeof bytes);
          if (count > 0) heard.append(bytes, static_cast<std::size_t>(count));
          return heard.find("\"hello\"") != std::string::npos;
        },
        kBootLimit))
        << "heard: " << heard;
    agents[run] = std::move(fd);
  }
  void say(GuestRun run, const std::string& line) {
    ASSERT_EQ(::write(agents[run].get(), (line + "\n").data(), line.size() + 1),
              static_cast<ssize_t>(line.size() + 1));
  }
};

TEST_F(RealQemuTest, AreasSurviveEveryEndOfTheirGuest) {
  const GuestRun a{{0}, 1};
  const GuestRun b{{1}, 1};
  boot(a);
  boot(b);
  hypervisor->probe(a);
  EXPECT_TRUE(await<ProbeAnswer>(a).kernel_answers) << await<ProbeAnswer>(a).evidence;

  hypervisor->plug(a, kTwoAreas);
  EXPECT_EQ(await<AreaPlugged>(a, 2).guest_address, 0x108000000u);
  // Nobody uses them: the guest lets go of them, and gets them again.
  hypervisor->unplug(a, kTwoAreas);
  (void)await<AreaUnplugged>(a, 2);
  hypervisor->plug(a, kTwoAreas);
  (void)await<AreaPlugged>(a, 4);
  const Bytes allocated = pool->allocated_bytes();

  say(a, R"({"type":"drill","kind":"os_panic","app":0,"duration_ms":0})");
  (void)await<GuestPanicked>(a);
  hypervisor->fence(a);
  EXPECT_THAT(await<GuestFenced>(a).how, HasSubstr("guest-panicked"));
  hypervisor->plug(b, kTwoAreas);
  (void)await<AreaPlugged>(b, 2);
  hypervisor->discard(a);
  (void)await<GuestGone>(a);

  ASSERT_TRUE(hypervisor->sigstop(b));
  hypervisor->probe(b);
  EXPECT_FALSE(await<ProbeAnswer>(b).kernel_answers);
  hypervisor->fence(b);
  EXPECT_THAT(await<GuestFenced>(b).how, HasSubstr("state T"));
  hypervisor->discard(b);
  (void)await<GuestGone>(b);
  EXPECT_EQ(pool->allocated_bytes(), allocated) << "a page was freed or newly allocated";
}

TEST_F(RealQemuTest, ARestartedDaemonGoesOnWithIt) {
  const GuestRun a{{0}, 1};
  boot(a);
  hypervisor->plug(a, kTwoAreas);
  (void)await<AreaPlugged>(a, 2);
  make_hypervisor();
  hypervisor->adopt(a);
  const auto adopted = await<GuestAdopted>(a);
  EXPECT_TRUE(adopted.executing);
  EXPECT_EQ(adopted.areas.size(), 2u);
  hypervisor->probe(a);
  EXPECT_TRUE(await<ProbeAnswer>(a).kernel_answers);
  ASSERT_TRUE(hypervisor->sigkill(a));
  (void)await<GuestExited>(a);
}

}  // namespace
}  // namespace understudy::qemu
