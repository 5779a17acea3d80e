#include "agent/fault_policy.hpp"

#include <gtest/gtest.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using GiveUp = FaultPolicy::GiveUp;
using Restart = FaultPolicy::RestartInPlace;
using AskMemory = FaultPolicy::AskMemory;

const Fault kKilled{FaultKind::ended, "killed by signal 9 (SIGKILL)"};

protocol::Restart limits(std::uint32_t attempts) {
  return {attempts, 60'000, 100, 1000, protocol::FirstResort::restart};
}

Time at(Duration since_start) {
  return Time(since_start);
}

// The delay of each of n faults in a row, in ms; -1 is giving up.
std::vector<std::int64_t> delays(FaultPolicy& policy, int n, Duration apart) {
  std::vector<std::int64_t> out;
  for (int i = 0; i < n; ++i) {
    const auto decision = policy.decide(kKilled, 0, at(apart * i));
    const auto* restart = std::get_if<Restart>(&decision);
    out.push_back(restart == nullptr ? -1 : restart->delay / 1ms);
  }
  return out;
}

TEST(FaultPolicy, DoublesTheDelayUpToItsMaximumAndThenGivesUp) {
  FaultPolicy policy(limits(6), false);
  EXPECT_EQ(delays(policy, 7, 1s), (std::vector<std::int64_t>{100, 200, 400, 800, 1000, 1000, -1}));
}

TEST(FaultPolicy, SaysWhyItGivesUp) {
  FaultPolicy policy(limits(1), false);
  EXPECT_EQ(std::get<Restart>(policy.decide(kKilled, 0, at(0s))).attempt, 1u);
  const auto decision = policy.decide(kKilled, 0, at(1s));
  EXPECT_EQ(std::get<GiveUp>(decision).cause, "killed by signal 9 (SIGKILL), 1 restart in 1 min used up");
  EXPECT_EQ(std::get<GiveUp>(decision).level, protocol::FaultLevel::recoverable);
}

TEST(FaultPolicy, SomebodyElsesUseOfTheGuestNeverCounts) {
  FaultPolicy policy(limits(1), true);
  const Fault victim{FaultKind::guest_out_of_memory, "the guest's kernel ran out", true};
  for (int i = 0; i < 200; ++i) {
    const auto decision = policy.decide(victim, 100_MiB, at(i * 1s));
    ASSERT_TRUE(std::holds_alternative<Restart>(decision)) << i;
    EXPECT_EQ(std::get<Restart>(decision).attempt, 0u);
    EXPECT_LE(std::get<Restart>(decision).delay, 1s);
  }
  EXPECT_EQ(std::get<Restart>(policy.decide(kKilled, 0, at(201s))).attempt, 1u)
      << "nor takes from what counts";
}

TEST(FaultPolicy, TheGuestsMemoryIsNeverAnsweredWithAreas) {
  FaultPolicy policy(limits(1), false);
  const Fault own{FaultKind::guest_out_of_memory, "the guest's kernel ran out", false};
  EXPECT_EQ(std::get<Restart>(policy.decide(own, 100_MiB, at(0s))).attempt, 1u);
  EXPECT_TRUE(std::holds_alternative<GiveUp>(policy.decide(own, 100_MiB, at(1s))));
}

TEST(FaultPolicy, WhatPutsItselfIntoTheBackgroundIsNotStartedAgain) {
  FaultPolicy policy(limits(3), true);
  const auto decision = policy.decide({FaultKind::in_background, "in the background"}, 0, at(0s));
  ASSERT_TRUE(std::holds_alternative<GiveUp>(decision));
  EXPECT_TRUE(std::get<GiveUp>(decision).configuration);
}

TEST(FaultPolicy, AttemptsLeaveTheWindowAsTimePasses) {
  FaultPolicy policy(limits(2), false);
  EXPECT_EQ(delays(policy, 5, 31s), (std::vector<std::int64_t>{100, 200, 200, 200, 200}));
  FaultPolicy quick(limits(2), false);
  EXPECT_EQ(delays(quick, 3, 29s), (std::vector<std::int64_t>{100, 200, -1}));
}

TEST(FaultPolicy, AnAttemptAsOldAsTheWindowCountsNoMore) {
  FaultPolicy policy(limits(1), false);
  EXPECT_EQ(delays(policy, 2, 60s), (std::vector<std::int64_t>{100, 100}));
}

TEST(FaultPolicy, TakeoverAsFirstResortSkipsRestartsOfHotStandbyJobsOnly) {
  auto restart = limits(3);
  restart.first = protocol::FirstResort::takeover;
  FaultPolicy hot(restart, true);
  EXPECT_EQ(std::get<GiveUp>(hot.decide(kKilled, 0, at(0s))).cause,
            "killed by signal 9 (SIGKILL); its first resort is takeover");
  FaultPolicy plain(restart, false);
  EXPECT_TRUE(std::holds_alternative<Restart>(plain.decide(kKilled, 0, at(0s))));
}

TEST(FaultPolicy, NoAttemptsMeansNone) {
  FaultPolicy policy(limits(0), false);
  EXPECT_EQ(std::get<GiveUp>(policy.decide(kKilled, 0, at(0s))).cause,
            "killed by signal 9 (SIGKILL); restarts in place are switched off");
}

TEST(FaultPolicy, EveryRecoverableKindIsRestarted) {
  for (const auto kind : {FaultKind::ended, FaultKind::unhealthy, FaultKind::not_ready}) {
    FaultPolicy policy(limits(1), false);
    EXPECT_TRUE(std::holds_alternative<Restart>(policy.decide({kind, "x"}, 0, at(0s))));
  }
}

TEST(FaultPolicy, WhatCannotBeExecutedIsNotTriedAgain) {
  FaultPolicy policy(limits(3), false);
  const auto decision = policy.decide({FaultKind::not_executable, "no such file"}, 0, at(0s));
  EXPECT_EQ(std::get<GiveUp>(decision).level, protocol::FaultLevel::unrecoverable);
}

TEST(FaultPolicy, LackOfMemoryAsksForAQuarterMoreAndAtLeast64MiB) {
  FaultPolicy policy(limits(0), false);
  const Fault fault{FaultKind::out_of_memory, "out of memory"};
  EXPECT_EQ(std::get<AskMemory>(policy.decide(fault, 1_GiB, at(0s))).more_bytes, 256_MiB);
  EXPECT_EQ(std::get<AskMemory>(policy.decide(fault, 100_MiB, at(0s))).more_bytes, 64_MiB);
  EXPECT_EQ(std::get<AskMemory>(policy.decide(fault, 0, at(0s))).more_bytes, 64_MiB);
}

TEST(FaultPolicy, RefusedMemoryIsAFaultLikeAnother) {
  FaultPolicy policy(limits(1), false);
  EXPECT_EQ(std::get<Restart>(policy.memory_refused("the pool is used up", at(0s))).attempt, 1u);
  EXPECT_EQ(std::get<GiveUp>(policy.memory_refused("the pool is used up", at(1s))).cause,
            "out of memory, and more was not given: the pool is used up, 1 restart in 1 min used up");
}

TEST(FaultPolicy, NoDelayStaysNoDelay) {
  FaultPolicy policy({3, 60'000, 0, 1000, protocol::FirstResort::restart}, false);
  EXPECT_EQ(delays(policy, 4, 1ms), (std::vector<std::int64_t>{0, 0, 0, -1}));
}

}  // namespace
}  // namespace understudy::agent
