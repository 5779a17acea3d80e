#pragma once

#include "config/config.hpp"

namespace understudy::link::test {

// Guests alpha (0) and beta (1) of 128 MiB; redis (0) may run in both, ledger (1) in beta alone; 28 areas.
inline config::Config two_guests() {
  config::Config config;
  config.pool.memory_bytes = 4_GiB;
  for (const char* name : {"alpha", "beta"}) {
    config::Guest guest;
    guest.name = name;
    guest.slots = 32;
    config.guests.push_back(guest);
  }
  config::Application redis;
  redis.name = "redis";
  redis.guests = {{0}, {1}};
  redis.memory_bytes = redis.minimum_bytes = redis.maximum_bytes = 1_GiB;
  redis.hot_standby = true;
  redis.start = {"/usr/bin/redis-server", "--save", ""};
  redis.environment = {{"LANG", "C"}};
  redis.health.kind = config::HealthKind::tcp;
  redis.health.port = 6379;
  redis.restart.first = core::FirstResort::takeover;
  redis.start_limit = std::chrono::microseconds(1500);
  config::Application ledger;
  ledger.name = "ledger";
  ledger.guests = {{1}};
  ledger.start = {"/bin/ledger"};
  config.applications = {redis, ledger};
  return config;
}

inline constexpr core::GuestRun kAlpha{{0}, 3};
inline constexpr core::AppId kRedis{0};
inline constexpr core::AppId kLedger{1};

}  // namespace understudy::link::test
