#pragma once

#include "fake_qemu.hpp"
#include "loop.hpp"
#include "qemu/proc.hpp"
#include "qemu/qemu_hypervisor.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace understudy::qemu::test {

inline constexpr core::GuestRun kA{{0}, 1};
inline constexpr core::GuestRun kB{{1}, 1};
inline constexpr core::AreaId kAreas[] = {{0}, {1}, {2}};
inline constexpr std::chrono::milliseconds kQuiet{60};  // long enough for a wrong event to show

// The whole of the hypervisor, with guests a and b and three areas, against a stand-in for QEMU that fails as
// it is told (fake_qemu.hpp).
struct HypervisorTest : testing::Test {
  TemporaryDirectory directory;
  Loop loop;
  std::vector<core::Event> events;
  std::vector<std::string> calls;  // of the listener, and the events between them
  std::unique_ptr<pool::AreaPool> pool;
  std::unique_ptr<QemuHypervisor> hypervisor;
  QemuHypervisor::Settings settings;             // a change counts from make_hypervisor()
  std::uint32_t area_count = std::size(kAreas);  // set before SetUp()

  void SetUp() override {
    faults("ok");
    auto made = pool::AreaPool::create(pool_config(), directory.path, area_count, loop.context, {});
    ASSERT_TRUE(made) << made.error().message;
    pool = std::move(*made);
    using std::chrono::milliseconds;
    settings.run_dir = directory.path;
    settings.qemu.program = kFakeQemu;
    for (const char* name : {"a", "b"}) {
      GuestPlan plan;
      plan.name = name;
      plan.base_bytes = 128_MiB;
      plan.area_bytes = pool_config().area_bytes;
      plan.slots = 3;
      plan.ports = {6379};
      plan.app_ports = {{"redis", 6379}};
      settings.guests.push_back(plan);
    }
    settings.apps = {"redis", "web"};
    settings.dumps.directory = directory.path / "dumps";
    settings.dumps.limit = milliseconds(300);
    settings.limits.launch = milliseconds(500);
    settings.limits.adopt = milliseconds(500);
    settings.limits.fence_monitor = milliseconds(100);
    settings.limits.probe = milliseconds(100);
    settings.limits.plug = milliseconds(200);
    settings.limits.unplug = milliseconds(200);
    settings.limits.monitor_lost = milliseconds(100);
    settings.limits.look = std::chrono::hours(1);
    make_hypervisor();
  }
  void TearDown() override {
    hypervisor.reset();
    if (pool == nullptr) return;  // skipped
    pool.reset();
    EXPECT_TRUE(end_all(directory.path));
    EXPECT_TRUE(pool::AreaPool::remove(directory.path));
    ::unsetenv(kFakeQemuVariable);
  }
  // Called with every event before it is kept.
  virtual void heard(const core::Event&) {}

  static config::Pool pool_config() {
    config::Pool config;
    config.area_bytes = 4_MiB;
    return config;
  }
  // The next daemon's, if there is one already.
  void make_hypervisor() {
    hypervisor.reset();
    auto made = QemuHypervisor::create(loop.context, settings, *pool, [this](core::Event event) {
      heard(event);
      calls.push_back("event " + std::to_string(event.index()));
      events.push_back(std::move(event));
    });
    ASSERT_TRUE(made) << made.error().message;
    hypervisor = std::move(*made);
    hypervisor->set_listener({.available = [this](core::GuestRun) { calls.emplace_back("available"); },
                              .gone = [this](core::GuestRun) { calls.emplace_back("gone"); }});
  }
  // Of every QEMU that is launched from now on.
  static void faults(const std::string& text) { ::setenv(kFakeQemuVariable, text.c_str(), 1); }

  template <class E>
  [[nodiscard]] std::vector<E> all(core::GuestRun run) const {
    std::vector<E> found;
    for (const core::Event& event : events) {
      if (const auto* each = std::get_if<E>(&event); each != nullptr && each->run == run)
        found.push_back(*each);
    }
    return found;
  }
  template <class E>
  E await(core::GuestRun run, std::size_t count = 1) {
    EXPECT_TRUE(loop.until([&] { return all<E>(run).size() >= count; })) << "the event did not come";
    const auto found = all<E>(run);
    return found.empty() ? E{} : found.back();
  }
  void launch(core::GuestRun run = kA) {
    hypervisor->launch(run);
    (void)await<core::event::GuestLaunched>(run);
    ASSERT_FALSE(HasFailure());
  }
  void plug(core::GuestRun run = kA) {
    hypervisor->plug(run, kAreas);
    (void)await<core::event::AreaPlugged>(run, std::size(kAreas));
    ASSERT_FALSE(HasFailure());
  }
  // To the run's QEMU, by way of its agent's socket.
  [[nodiscard]] UniqueFd connect(core::GuestRun run) const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    hypervisor->agent_socket(run)->native().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  void order(core::GuestRun run, const std::string& line) const {
    const UniqueFd fd = connect(run);
    ASSERT_EQ(::write(fd.get(), (line + "\n").data(), line.size() + 1),
              static_cast<ssize_t>(line.size() + 1));
  }
  [[nodiscard]] std::vector<FoundProcess> processes() const { return find_processes(directory.path); }
};

}  // namespace understudy::qemu::test
