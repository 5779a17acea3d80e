// What an agent is told of its applications when its guest was started with another configuration.
#include "link/definitions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::link {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

constexpr core::GuestRun kRun{{0}, 3};

config::Application application(const std::string& name, std::uint16_t port,
                                std::vector<core::GuestId> guests) {
  config::Application app;
  app.name = name;
  app.guests = std::move(guests);
  app.start = {"/bin/" + name, std::to_string(port)};
  app.health.kind = config::HealthKind::tcp;
  app.health.port = port;
  app.address.emplace();
  app.address->guest_port = port;
  return app;
}

// redis and web on alpha and beta, both hot standby.
config::Config config_of(std::uint16_t redis_port) {
  config::Config config;
  config.guests.resize(2);
  config.guests[0].name = "alpha";
  config.guests[1].name = "beta";
  config.applications = {application("redis", redis_port, {{0}, {1}}), application("web", 80, {{0}, {1}})};
  for (auto& app : config.applications) app.hot_standby = true;
  return config;
}

Started started_with(const config::Config& config) {
  Started started{192_MiB, told_line(config, {0}), {}};
  for (const auto& app : config.applications) started.app_ports[app.name] = app.address->guest_port;
  return started;
}

TEST(RunView, OfTheSameConfigurationIsWhatEveryGuestIsTold) {
  const config::Config config = config_of(6379);
  const RunView view = view_of(config, kRun, started_with(config));
  EXPECT_EQ(view.welcome, welcome_for(config, kRun));
  EXPECT_EQ(view.base_bytes, 192_MiB);
  for (const std::uint32_t app : {0U, 1U, 2U, 3U}) EXPECT_TRUE(view.knows(app)) << app;
  EXPECT_FALSE(view.knows(4));
}

TEST(RunView, AnApplicationWithAnotherPortIsStartedThereAsItWas) {
  config::Config config = config_of(6380);
  config.applications[0].stop_limit = seconds(77);
  config.applications[1].start = {"/bin/new-web"};
  const RunView view = view_of(config, kRun, started_with(config_of(6379)));
  const protocol::Application& redis = view.welcome.applications.at(0);
  EXPECT_THAT(redis.start, ElementsAre("/bin/redis", "6379"));
  EXPECT_EQ(redis.health.port, 6379);
  EXPECT_EQ(redis.stop_limit_ms, 77'000U) << "limits are today's";
  EXPECT_THAT(view.welcome.applications.at(1).start, ElementsAre("/bin/new-web")) << "its port is the same";
}

TEST(RunView, OneThatHadNoAddressIsStartedThereWithoutIt) {
  config::Config then = config_of(6379);
  then.applications[0].address.reset();
  then.applications[0].start = {"/bin/quiet"};
  Started started{192_MiB, told_line(then, {0}), {{"web", 80}}};
  EXPECT_THAT(view_of(config_of(6379), kRun, started).welcome.applications.at(0).start,
              ElementsAre("/bin/quiet"));
}

TEST(RunView, OneThatListsTheGuestNoMoreIsStillToldOf) {
  config::Config config = config_of(6379);
  config.applications[0].guests = {{1}};
  EXPECT_FALSE(view_of(config, kRun).knows(0));
  EXPECT_TRUE(view_of(config, kRun, started_with(config_of(6379))).knows(0)) << "its agent would end it";
}

TEST(RunView, NumbersAreThoseOfThePresentOrder) {
  config::Config config = config_of(6380);
  std::swap(config.applications[0], config.applications[1]);
  const RunView view = view_of(config, kRun, started_with(config_of(6379)));
  ASSERT_EQ(view.welcome.applications.size(), 2U);
  EXPECT_EQ(view.welcome.applications[1].name, "redis");
  EXPECT_EQ(view.welcome.applications[1].app, 1U);
  EXPECT_EQ(view.welcome.applications[1].rehearsal, 3U);
  EXPECT_THAT(view.welcome.applications[1].start, ElementsAre("/bin/redis", "6379"));
}

TEST(RunView, WithoutWhatItWasToldThePresentConfigurationCounts) {
  const config::Config config = config_of(6380);
  for (const char* told : {"", "nonsense", "{\"type\":\"greet\"}\n"})
    EXPECT_EQ(view_of(config, kRun, {128_MiB, told, {{"redis", 6379}}}).welcome, welcome_for(config, kRun));
}

}  // namespace
}  // namespace understudy::link
