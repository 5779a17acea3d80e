#pragma once

#include "protocol/messages.hpp"

#include <vector>

namespace understudy::protocol::test {

inline Application redis() {
  Application app;
  app.app = 1;
  app.name = "redis";
  app.start = {"/usr/bin/redis-server", "--save", "", "--port", "6379"};
  app.prepare = {"/usr/bin/redis-server", "--version"};
  app.environment = {{"LANG", "C.UTF-8"}};
  app.user = "app";
  app.ready = Ready::health;
  app.health = {HealthKind::tcp, 6379, {}, 1000, 500, 3};
  app.restart = {3, 60'000, 100, 5000, FirstResort::takeover};
  app.hot_standby = true;
  app.rehearsal = 4;
  app.scratch = {"/var/lib/redis"};
  app.port = 6379;
  return app;
}

// One of every message, with every field away from its default.
inline std::vector<ToAgent> all_to_agent() {
  return {to_agent::Greet{},
          to_agent::Welcome{kVersion, "alpha", 4, 20, {redis()}},
          to_agent::Refuse{9, "the versions differ"},
          to_agent::Need{1, 7, 512ULL << 20},
          to_agent::Engage{
              1, 7, {{3, 1ULL << 32, 128ULL << 20}, {4, (1ULL << 32) + (128ULL << 20), 128ULL << 20}}},
          to_agent::Start{1, 7, 600ULL << 20, {3, 4}},
          to_agent::Stop{1, 7},
          to_agent::Release{1, 7, {{3, 1ULL << 32, 128ULL << 20}}, 2500},
          to_agent::Prepare{1},
          to_agent::Drill{DrillKind::silence, 1, 900},
          to_agent::GrowDone{1, 7, 1ULL << 30, {5}},
          to_agent::GrowRefused{1, 7, "the pool is used up"},
          to_agent::Tail{1, 2000},
          to_agent::Query{}};
}

inline std::vector<FromAgent> all_from_agent() {
  return {
      from_agent::Hello{kVersion, "6f2c", 99, 1ULL << 27, 1ULL << 26, 1ULL << 27},
      from_agent::Beat{17, 1ULL << 27, 1ULL << 26},
      from_agent::Need{1, 7, 512ULL << 20, 30ULL << 20, 490ULL << 20},
      from_agent::Engaged{1, 7, {3, 4}, 1ULL << 29, 1ULL << 28},
      from_agent::EngageFailed{1, 7, "area 4 never came online"},
      from_agent::Serving{1, 7, {3, 4}, 30ULL << 20, 212},
      from_agent::StartFailed{1, 7, "exit status 1", "cannot bind\n", true},
      from_agent::Restarting{1, 7, "killed by signal 9 (SIGKILL)", 2, 200, true},
      from_agent::WantsMemory{1, 7, 64ULL << 20},
      from_agent::Faulted{1, 7, "3 restarts in 60 s used up", "last words\n", FaultLevel::recoverable, true},
      from_agent::Stopped{1, 7},
      from_agent::StopFailed{1, 7, "process 212 is in state D"},
      from_agent::Released{1, 7, {3}, "area 4: busy"},
      from_agent::Prepared{1, 120, "exit status 2"},
      from_agent::State{{{1, 7, Phase::wanting_memory}, {2, 0, Phase::idle}}},
      from_agent::Tail{1, "one\ntwo\n"},
      from_agent::Log{"memory block 36 is online"}};
}

}  // namespace understudy::protocol::test
