#include "control/command.hpp"

#include <gtest/gtest.h>

namespace understudy::control {
namespace {

TEST(Command, EveryCommandSurvivesTheWire) {
  const std::vector<Command> commands{command::Status{},
                                      command::Table{},
                                      command::Report{"redis"},
                                      command::Report{""},
                                      command::Events{true},
                                      command::Takeover{"redis", "beta"},
                                      command::Takeover{"redis", "", true},
                                      command::Fault{"alpha", core::FaultKind::vmm_kill},
                                      command::Start{"redis"},
                                      command::Stop{"redis"},
                                      command::Logs{"redis", 0},
                                      command::Logs{"redis", 7},
                                      command::Maintenance{"alpha", std::chrono::minutes(30)},
                                      command::Maintenance{"redis", Duration{}},
                                      command::Rehearse{"redis", true},
                                      command::Rehearse{"redis", false},
                                      command::Down{}};
  for (const Command& command : commands) {
    const std::string line = encode(command);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto again = decode(line);
    ASSERT_TRUE(again) << line << ": " << again.error().message;
    EXPECT_EQ(again->index(), command.index());
    EXPECT_EQ(encode(*again), line);
  }
}

TEST(Command, EveryFaultHasAName) {
  using core::FaultKind;
  for (const FaultKind kind :
       {FaultKind::os_panic, FaultKind::os_hang, FaultKind::vmm_kill, FaultKind::app_exit,
        FaultKind::app_crash, FaultKind::app_hang, FaultKind::agent_silence}) {
    EXPECT_EQ(fault_of(fault_name(kind)), kind);
  }
  EXPECT_FALSE(fault_of("flood"));
  EXPECT_EQ(fault_of("vmm-kill"), FaultKind::vmm_kill);  // as it was called once
  EXPECT_STREQ(fault_name(FaultKind::vmm_kill), "qemu-kill");
}

TEST(Command, ARehearsalNamesItsApplication) {
  EXPECT_FALSE(decode(R"({"command":"rehearse"})"));
  EXPECT_FALSE(decode(R"({"command":"rehearse","app":"redis","start":"yes"})"));
  const auto plain = decode(R"({"command":"rehearse","app":"redis"})");
  ASSERT_TRUE(plain);
  EXPECT_FALSE(std::get<command::Rehearse>(*plain).start);
}

TEST(Command, MaintenanceTakesTheDurationsThatPeopleWrite) {
  EXPECT_EQ(parse_maintenance("30m").value(), std::chrono::minutes(30));
  EXPECT_EQ(parse_maintenance("30 min").value(), std::chrono::minutes(30));
  EXPECT_EQ(parse_maintenance("90 s").value(), std::chrono::seconds(90));
  EXPECT_EQ(parse_maintenance("24h").value(), std::chrono::hours(24));
  for (const char* text :
       {"", "m", "30", "0 s", "25 h", "-5m", "999 ms", "99999999999999999999 h", "half an hour"})
    EXPECT_FALSE(parse_maintenance(text)) << text;
  EXPECT_NE(parse_maintenance("25h").error().message.find("to 24 h, not 25 h"), std::string::npos);
}

TEST(Command, MaintenanceHasItsLimitsOnTheWire) {
  const auto is_taken = [](Duration lasts) {
    return decode(encode(command::Maintenance{"alpha", lasts})).has_value();
  };
  EXPECT_TRUE(is_taken(kShortestMaintenance));
  EXPECT_FALSE(is_taken(kShortestMaintenance - Duration(1)));
  EXPECT_TRUE(is_taken(kLongestMaintenance));
  EXPECT_FALSE(is_taken(kLongestMaintenance + Duration(1)));
}

// Found when fuzz_control was written: a request came back in the refusal whole, controls and all.
TEST(Command, ARefusalQuotesNoMoreThanIsFitToBeShown) {
  for (const std::string& line :
       {R"({"command":"\u001b[2J\n\u009b)" + std::string(3000, 'x') + "\"}",
        R"({"command":"fault","target":"a","kind":"\u001b[2J\n\u009b)" + std::string(3000, 'x') + "\"}"}) {
    const auto command = decode(line);
    ASSERT_FALSE(command);
    EXPECT_LT(command.error().message.size(), 100u);
    for (const char c : command.error().message) EXPECT_TRUE(c >= ' ' && c < 0x7f) << command.error().message;
  }
}

TEST(Command, RefusesWhatIsNoCommandAndSaysWhatIsMissing) {
  const std::vector<std::pair<const char*, const char*>> wrong{
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {"{\"command\":1}", "needs \"command\""},
      {"{\"command\":\"dance\"}", "\"dance\" is no command"},
      {"{\"command\":\"takeover\"}", "needs \"app\""},
      {"{\"command\":\"takeover\",\"app\":7}", "needs \"app\""},
      {"{\"command\":\"fault\",\"target\":\"alpha\"}", "needs \"kind\""},
      {"{\"command\":\"fault\",\"target\":\"alpha\",\"kind\":\"flood\"}", "no kind of fault"},
      {"{\"command\":\"maintenance\",\"lasts_us\":0}", "needs \"target\""},
      {"{\"command\":\"maintenance\",\"target\":\"alpha\"}", "needs \"lasts_us\""},
      {"{\"command\":\"maintenance\",\"target\":\"alpha\",\"lasts_us\":1.5}", "needs \"lasts_us\""},
      {"{\"command\":\"maintenance\",\"target\":\"alpha\",\"lasts_us\":-1}", "from 1 s to 24 h"},
      {"{\"command\":\"maintenance\",\"target\":\"alpha\",\"lasts_us\":9000000000000}", "from 1 s to 24 h"},
      {"{\"command\":{\"a\":{\"b\":{\"c\":{\"d\":1}}}}}", "not a JSON object"},
  };
  for (const auto& [line, said] : wrong) {
    const auto command = decode(line);
    ASSERT_FALSE(command) << line;
    EXPECT_NE(command.error().message.find(said), std::string::npos)
        << line << ": " << command.error().message;
  }
}

}  // namespace
}  // namespace understudy::control
