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
                                      command::Fault{"alpha", core::FaultKind::vmm_kill},
                                      command::Start{"redis"},
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
