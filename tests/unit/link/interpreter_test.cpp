#include "link/interpreter.hpp"

#include "fixtures.hpp"

#include <gtest/gtest.h>

namespace understudy::link {
namespace {

namespace event = core::event;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;
using test::kAlpha;

constexpr std::uint64_t kTotal = 256ULL << 20;
constexpr std::uint64_t kAvailable = 128ULL << 20;

class InterpreterTest : public testing::Test {
 protected:
  template <class Event>
  Event event_of(const protocol::FromAgent& message) {
    const Meaning meaning = interpreter.interpret(message, requests);
    const auto* found = std::get_if<core::Event>(&meaning);
    if (found == nullptr || !std::holds_alternative<Event>(*found)) {
      ADD_FAILURE() << "not the event";
      return {};
    }
    return std::get<Event>(*found);
  }
  std::string misdeed_of(const protocol::FromAgent& message) {
    const Meaning meaning = interpreter.interpret(message, requests);
    const auto* misdeed = std::get_if<Misdeed>(&meaning);
    return misdeed == nullptr ? "" : misdeed->what;
  }
  bool nothing(const protocol::FromAgent& message) {
    return std::holds_alternative<std::monostate>(interpreter.interpret(message, requests));
  }

  config::Config config = test::two_guests();
  Interpreter interpreter{config, kAlpha};
  Requests requests;
};

TEST_F(InterpreterTest, ApplicationsOfOtherGuestsAreNoneOfItsBusiness) {
  const std::string foreign = "it speaks of application 1, which is not configured for this guest";
  EXPECT_EQ(misdeed_of(from::Serving{1, 7, {}, 0, 1}), foreign);
  EXPECT_EQ(misdeed_of(from::Faulted{1, 7, "", "", {}}), foreign);
  EXPECT_EQ(misdeed_of(from::Stopped{1, 7}), foreign);
  EXPECT_EQ(misdeed_of(from::Released{1, 7, {}, ""}), foreign);
  EXPECT_EQ(misdeed_of(from::Prepared{1, 7, ""}), foreign);
  EXPECT_EQ(misdeed_of(from::Tail{1, ""}), foreign);
  EXPECT_NE(misdeed_of(from::Stopped{4'000'000'000, 7}), "");
  EXPECT_NE(misdeed_of(from::State{{{1, 7, protocol::Phase::serving}}}), "");
}

TEST_F(InterpreterTest, ImpossibleMemoryIsNotBelieved) {
  EXPECT_EQ(misdeed_of(from::Beat{1, kTotal, kTotal + 1}), "a beat with more memory available than there is");
  EXPECT_NE(misdeed_of(from::Beat{1, 4_GiB, 1}), "");
  EXPECT_NE(misdeed_of(from::Hello{1, "", 1, protocol::kMaxBytes, 1, 0}), "");
  EXPECT_EQ(event_of<event::AgentBeat>(from::Beat{1, kTotal, kAvailable}).memory.total_bytes, kTotal);
}

TEST_F(InterpreterTest, ANeedMustHaveBeenAskedForAndBeReasonable) {
  EXPECT_TRUE(nothing(from::Need{0, 7, 1_GiB, 0, 1_GiB}));
  ASSERT_TRUE(requests.add(to::Need{0, 7, 1_GiB}));
  EXPECT_NE(misdeed_of(from::Need{0, 7, 1_GiB, 0, 3_GiB}), "");
  EXPECT_EQ(event_of<event::NeedStated>(from::Need{0, 7, 1_GiB, 0, 1_GiB}).missing_bytes, 1_GiB);
  EXPECT_TRUE(nothing(from::Need{0, 7, 1_GiB, 0, 1_GiB}));
}

TEST_F(InterpreterTest, ClaimsAreBelievedUpToTheirBounds) {
  ASSERT_TRUE(requests.add(to::Need{0, 7, 1_GiB}));
  EXPECT_NE(misdeed_of(from::Need{0, 7, 1_GiB, 0, 2 * (1_GiB + 256_MiB) + 1}), "");
  EXPECT_EQ(event_of<event::NeedStated>(from::Need{0, 7, 1_GiB, 0, 2 * (1_GiB + 256_MiB)}).missing_bytes,
            2 * (1_GiB + 256_MiB));
  EXPECT_NE(misdeed_of(from::WantsMemory{0, 7, 4_GiB + 1}), "");
  EXPECT_EQ(event_of<event::AppWantsMemory>(from::WantsMemory{0, 7, 4_GiB}).more_bytes, 4_GiB);
  const Bytes most = 128_MiB + 28 * 128_MiB;  // its base and every area
  EXPECT_NE(misdeed_of(from::Beat{1, most + 1, 0}), "");
  EXPECT_EQ(event_of<event::AgentBeat>(from::Beat{1, most, most}).memory.available_bytes, most);
  EXPECT_NE(misdeed_of(from::Serving{0, 7, {}, 128_MiB + 1, 1}), "");
  EXPECT_EQ(event_of<event::AppServing>(from::Serving{0, 7, {27}, 128_MiB, 1}).base_use_bytes, 128_MiB);
}

TEST_F(InterpreterTest, EngagedMeansAllOfExactlyTheAreasAsked) {
  EXPECT_TRUE(nothing(from::Engaged{0, 7, {3}, kTotal, kAvailable}));
  ASSERT_TRUE(requests.add(to::Engage{0, 7, {{3, 1ULL << 32, 128_MiB}, {4, 2ULL << 32, 128_MiB}}}));
  EXPECT_NE(misdeed_of(from::Engaged{0, 7, {3}, 380_MiB, kAvailable}), "");
  EXPECT_NE(misdeed_of(from::Engaged{0, 7, {3, 4, 5}, 380_MiB, kAvailable}), "");
  EXPECT_NE(misdeed_of(from::Engaged{0, 7, {3, 3}, 380_MiB, kAvailable}), "");
  EXPECT_NE(misdeed_of(from::Engaged{0, 7, {3, 28}, 380_MiB, kAvailable}), "");
  EXPECT_EQ(misdeed_of(from::Engaged{0, 7, {4, 3}, 128_MiB, 64_MiB}),
            "it says that 256 MiB are online and that it has 128 MiB in all");
  EXPECT_EQ(event_of<event::AreasEngaged>(from::Engaged{0, 7, {4, 3}, 380_MiB, kAvailable}).epoch, 7u);
  EXPECT_TRUE(nothing(from::Engaged{0, 7, {4, 3}, 380_MiB, kAvailable}));
}

TEST_F(InterpreterTest, ReleasedMeansOnlyAreasThatWereAskedFor) {
  EXPECT_TRUE(nothing(from::Released{0, 7, {3}, ""}));
  ASSERT_TRUE(requests.add(to::Release{0, 7, {{3, 1ULL << 32, 128_MiB}, {4, 2ULL << 32, 128_MiB}}, 100}));
  EXPECT_NE(misdeed_of(from::Released{0, 7, {5}, ""}), "");
  EXPECT_NE(misdeed_of(from::Released{0, 7, {3, 3}, ""}), "");
  const auto released = event_of<event::AreasReleased>(from::Released{0, 7, {4}, ""});
  EXPECT_EQ(released.areas, (std::vector<core::AreaId>{{4}}));
  EXPECT_EQ(released.why_not_all, "the agent gives no reason");
}

TEST_F(InterpreterTest, ServingNamesAreasThatItWasGivenAndNoMoreThanItsBase) {
  ASSERT_TRUE(requests.add(to::Start{0, 7, 1_GiB, {3, 4}}));
  EXPECT_NE(misdeed_of(from::Serving{0, 7, {5}, 0, 1}), "");
  EXPECT_NE(misdeed_of(from::Serving{0, 7, {28}, 0, 1}), "");
  EXPECT_NE(misdeed_of(from::Serving{0, 7, {3}, 129_MiB, 1}), "");
  const auto serving = event_of<event::AppServing>(from::Serving{0, 7, {3}, 16_MiB, 212});
  EXPECT_EQ(serving.base_use_bytes, 16_MiB);
  EXPECT_TRUE(requests.unanswered().empty());
  // Said again after a reconnection: nothing was asked, and it is still true.
  EXPECT_EQ(event_of<event::AppServing>(from::Serving{0, 7, {3}, 16_MiB, 212}).run, kAlpha);
}

TEST_F(InterpreterTest, AFailedStartBringsAllItsOutputAlong) {
  const auto failed =
      event_of<event::AppStartFailed>(from::StartFailed{0, 7, "exit status 1", "one\ncannot bind\n\n"});
  EXPECT_EQ(failed.why, "exit status 1");
  EXPECT_EQ(failed.evidence, "one\ncannot bind");
  EXPECT_EQ(event_of<event::AppStartFailed>(from::StartFailed{0, 7, "exit status 1", "\n"}).evidence, "");
}

TEST_F(InterpreterTest, FaultsAndWishesPass) {
  EXPECT_EQ(event_of<event::AppRestarting>(from::Restarting{0, 7, "killed", 2, 100}).attempt, 2u);
  EXPECT_EQ(event_of<event::AppWantsMemory>(from::WantsMemory{0, 7, 64_MiB}).more_bytes, 64_MiB);
  EXPECT_NE(misdeed_of(from::WantsMemory{0, 7, 5_GiB}), "");
  const auto faulted = event_of<event::AppFaulted>(from::Faulted{0, 7, "killed", "last words", {}});
  EXPECT_EQ(faulted.cause, "killed");
  EXPECT_EQ(faulted.evidence, "last words");
}

TEST_F(InterpreterTest, StoppedMustHaveBeenAskedFor) {
  EXPECT_TRUE(nothing(from::Stopped{0, 7}));
  ASSERT_TRUE(requests.add(to::Stop{0, 7}));
  EXPECT_TRUE(nothing(from::Stopped{0, 6}));
  EXPECT_EQ(event_of<event::AppStopped>(from::Stopped{0, 7}).app, test::kRedis);
  EXPECT_TRUE(nothing(from::Stopped{0, 7}));
}

TEST_F(InterpreterTest, AStateIsAnAnswerToTheCoresQuestionOnly) {
  (void)interpreter.interpret(from::Faulted{0, 7, "killed too often", "", {}}, requests);
  const from::State state{{{0, 7, protocol::Phase::faulted}}};
  EXPECT_TRUE(nothing(state));
  ASSERT_TRUE(requests.add(to::Query{}));
  const auto stated = event_of<event::AppsStated>(state);
  ASSERT_EQ(stated.apps.size(), 1u);
  EXPECT_FALSE(stated.apps[0].runs);
  EXPECT_EQ(stated.apps[0].fault, "killed too often");
  EXPECT_TRUE(nothing(state));
}

TEST_F(InterpreterTest, EveryPhaseHasItsMeaning) {
  using protocol::Phase;
  struct Case {
    Phase phase;
    bool runs;
    bool restarting;
  };
  for (const Case& one : {Case{Phase::starting, true, false}, Case{Phase::serving, true, false},
                          Case{Phase::stopping, true, false}, Case{Phase::restarting, true, true},
                          Case{Phase::wanting_memory, true, true}, Case{Phase::ending, true, true},
                          Case{Phase::faulted, false, false}}) {
    ASSERT_TRUE(requests.add(to::Query{}));
    const auto stated = event_of<event::AppsStated>(from::State{{{0, 7, one.phase}}});
    ASSERT_EQ(stated.apps.size(), 1u);
    EXPECT_EQ(stated.apps[0].runs, one.runs) << protocol::phase_name(one.phase);
    EXPECT_EQ(stated.apps[0].restarting, one.restarting) << protocol::phase_name(one.phase);
    EXPECT_EQ(stated.apps[0].ending, one.phase == Phase::stopping) << protocol::phase_name(one.phase);
  }
  ASSERT_TRUE(requests.add(to::Query{}));
  EXPECT_TRUE(event_of<event::AppsStated>(from::State{{{0, 7, Phase::idle}}}).apps.empty());
  EXPECT_NE(misdeed_of(from::State{{{0, 7, Phase::idle}, {0, 7, Phase::idle}}}), "");
}

}  // namespace
}  // namespace understudy::link
