// What a guest wrote on its console, in the event of its end: bounded, cleaned, and never waited for long.
#include "qemu/console.hpp"

#include "hypervisor_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kPanicText = "Kernel panic - not syncing: no init";  // in base64:
constexpr const char* kPanicSent = "S2VybmVsIHBhbmljIC0gbm90IHN5bmNpbmc6IG5vIGluaXQ=";

// ---- its words ----

TEST(LastWords, AreTheLastLinesWithoutWhatDrivesATerminal) {
  EXPECT_EQ(last_words(""), "");
  EXPECT_EQ(last_words("\r\n\n\x1b[2J \r\n"), "");
  EXPECT_EQ(last_words("one\r\n\x1b[1;31mtwo\x1b[0m\ttabs\r\n\x1b]0;a title\athree\x1b(B"),
            "one\ntwo tabs\nthree");
  EXPECT_EQ(last_words(std::string("nul\0 \x80\xff \x07 \xc3\xa4", 12)), "nul? ?? ? ??");
  EXPECT_EQ(last_words("cut off \x1b["), "cut off");
  EXPECT_EQ(last_words("cut off \x1b]0;never ended"), "cut off");
  std::string many;
  for (int i = 0; i < 30; ++i) many += "line " + std::to_string(i) + "\n";
  EXPECT_TRUE(last_words(many).starts_with("line 20\n"));
  EXPECT_TRUE(last_words(many).ends_with("\nline 29"));
}

TEST(LastWords, AreBoundedWhateverWasWritten) {
  for (const char* line : {"x", "\x1b", "\n", "\x1b[", "\x1b]", "Kernel panic - not syncing\n", "\xff"}) {
    std::string written;
    while (written.size() < kConsoleBytes) written += line;
    const std::string words = last_words(written);
    EXPECT_LE(words.size(), kMostWordsBytes) << line;
    EXPECT_LT(std::count(words.begin(), words.end(), '\n'), static_cast<long>(kMostWordsLines)) << line;
  }
}

TEST(LastWords, OfAFullRingBeginWithAWholeLine) {
  std::string written(kConsoleBytes - 10, 'x');
  written += "\nthe end!!";
  EXPECT_EQ(last_words(written), "the end!!");
}

TEST(LastWords, OfAPanicAreWhatLedToItAndNotItsStack) {
  std::string written = "[    0.1] long ago\n";
  for (int i = 0; i < 20; ++i) written += "[    0.2] before\n";
  written +=
      "[    0.3] RAX: 0000000000000001 RBX: 0000000000000002\n"
      "[    0.3] Code: 48 89 c7\n"
      "[    0.3] Failed to execute /init (error -8)\n"
      "[    0.4] Kernel panic - not syncing: No working init found.\n"
      "[    0.4] CPU: 0 PID: 1 Comm: swapper/0\n"
      "[    0.4] Hardware name: a machine\n";
  for (int i = 0; i < 50; ++i) written += "[    0.5]  a_function+0x1/0x2\n";
  const std::string words = last_words(written);
  EXPECT_THAT(words,
              HasSubstr("Failed to execute /init (error -8)\n[    0.4] Kernel panic - not syncing: No"));
  EXPECT_THAT(words, Not(HasSubstr("a_function")));
  EXPECT_THAT(words, Not(HasSubstr("RAX")));
  EXPECT_THAT(words, Not(HasSubstr("Code")));
}

TEST(ReadConsole, TakesBase64AndNothingElse) {
  EXPECT_EQ(read_console(boost::json::value(kPanicSent)), kPanicText);
  EXPECT_EQ(read_console(boost::json::value("AAECA/8=")), std::string("\x00\x01\x02\x03\xff", 5));
  EXPECT_EQ(read_console(boost::json::value("")), "");
  EXPECT_EQ(read_console(boost::json::value("a b")), "");
  EXPECT_EQ(read_console(boost::json::value(7)), "");
  EXPECT_EQ(read_console(boost::json::value(boost::json::object{{"x", 1}})), "");
  const std::string longest((kConsoleBytes + 2) / 3 * 4, 'A');
  EXPECT_FALSE(read_console(boost::json::value(longest)).empty());
  EXPECT_EQ(read_console(boost::json::value(longest + "AAAA")), "") << "more than was asked for";
}

// ---- in the events ----

struct Console : HypervisorTest {
  // To kA's QEMU: what its guest writes on its console, and it is there when this returns.
  void write(const std::string& base64) {
    const UniqueFd fd = connect(kA);
    const std::string orders = "writes " + base64 + "\nopen /\n";
    ASSERT_EQ(::write(fd.get(), orders.data(), orders.size()), static_cast<ssize_t>(orders.size()));
    char answer = 0;
    ASSERT_EQ(::read(fd.get(), &answer, 1), 1);
  }
};

TEST_F(Console, APanicSaysWhyAndOnlyOnce) {
  launch();
  write(kPanicSent);
  order(kA, "panic");
  EXPECT_EQ(await<GuestPanicked>(kA).console, kPanicText);
  hypervisor->fence(kA);
  EXPECT_EQ(await<GuestFenced>(kA).console, "");
}

struct EndByItself : Console, testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Every, EndByItself,
                         testing::Values("shutdown guest-reset", "shutdown guest-shutdown",
                                         "stop internal-error"),
                         [](const auto& how) {
                           std::string name = how.param;
                           for (char& c : name) c = std::isalpha(c) != 0 ? c : '_';
                           return name;
                         });

TEST_P(EndByItself, SaysWhy) {
  launch();
  write(kPanicSent);
  order(kA, GetParam());
  const auto exited = await<GuestExited>(kA);
  EXPECT_EQ(exited.console, kPanicText);
  EXPECT_THAT(exited.how, Not(HasSubstr("panic"))) << "untrusted words are told apart";
  EXPECT_TRUE(processes().empty());
}

TEST_F(Console, AFenceBringsTheLastWords) {
  launch();
  write(kPanicSent);
  hypervisor->fence(kA);
  EXPECT_EQ(await<GuestFenced>(kA).console, kPanicText);
}

TEST_F(Console, AnEarlierVersionsGuestHasNoneAndIsServedAllTheSame) {
  faults("no-console");
  launch();
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  (void)await<GuestAdopted>(kA);
  order(kA, "panic");
  EXPECT_EQ(await<GuestPanicked>(kA).console, "");
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("guest-panicked"));
}

// No fault of the monitor at this question costs more than the words.
struct ConsoleFault : HypervisorTest, testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Every, ConsoleFault,
                         testing::Values("refuse", "silent", "exit", "hangup", "garbage"),
                         [](const auto& fault) { return std::string(fault.param); });

TEST_P(ConsoleFault, APanicEndsInAFenceThatIsTrue) {
  faults(std::string(GetParam()) + "=ringbuf-read");
  launch();
  order(kA, "panic");
  ASSERT_TRUE(loop.until([&] { return !all<GuestPanicked>(kA).empty() || !all<GuestExited>(kA).empty(); }));
  for (const auto& panicked : all<GuestPanicked>(kA)) EXPECT_EQ(panicked.console, "");
  if (!all<GuestExited>(kA).empty()) return;
  hypervisor->fence(kA);
  ASSERT_TRUE(loop.until([&] { return !all<GuestFenced>(kA).empty() || !all<GuestExited>(kA).empty(); }));
}

TEST_P(ConsoleFault, AGuestThatRestartsIsEndedAllTheSame) {
  faults(std::string(GetParam()) + "=ringbuf-read");
  launch();
  order(kA, "shutdown guest-reset");
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("its OS restarted itself"));
  EXPECT_TRUE(processes().empty());
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 2u);
}

TEST_P(ConsoleFault, AFenceIsAnsweredAllTheSame) {
  faults(std::string(GetParam()) + "=ringbuf-read");
  launch();
  hypervisor->fence(kA);
  EXPECT_EQ(await<GuestFenced>(kA).console, "");
}

TEST_F(Console, AFenceDoesNotWaitForTheWordsOfAGuestThatEndsItself) {
  faults("silent=ringbuf-read");
  settings.limits.console = std::chrono::minutes(1);
  make_hypervisor();
  launch();
  order(kA, "shutdown guest-reset");
  loop.run_for(kQuiet);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("SIGKILL"));
  EXPECT_TRUE(all<GuestExited>(kA).empty());
  EXPECT_TRUE(processes().empty());
}

}  // namespace
}  // namespace understudy::qemu
