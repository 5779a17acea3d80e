#include "agent/listeners.hpp"
#include "agent/meminfo.hpp"
#include "agent/notify_socket.hpp"
#include "agent/output_tail.hpp"
#include "agent/process_state.hpp"
#include "agent/uevents.hpp"
#include "agent/users.hpp"
#include "base/memory_rules.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace understudy::agent {
namespace {

TEST(Meminfo, ReadsTotalAndAvailable) {
  const auto memory =
      parse_meminfo("MemTotal:         131072 kB\nMemFree:  1 kB\nMemAvailable:   65536 kB\n");
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->total_bytes, 128_MiB);
  EXPECT_EQ(memory->available_bytes, 64_MiB);
}

TEST(Meminfo, RefusesWhatIsNotMeminfo) {
  EXPECT_FALSE(parse_meminfo(""));
  EXPECT_FALSE(parse_meminfo("MemTotal: 1 kB\n"));
  EXPECT_FALSE(parse_meminfo("MemTotal: 1\nMemAvailable: 1\n"));
  EXPECT_FALSE(parse_meminfo("MemTotal: -1 kB\nMemAvailable: 1 kB\n"));
  EXPECT_FALSE(parse_meminfo("NoMemTotal: 1 kB\nMemAvailable: 1 kB\n"));
}

TEST(Meminfo, SaysWhoUsesIt) {
  EXPECT_EQ(describe_use("MemTotal: 1 kB\nCached: 61440 kB\nSwapCached: 7 kB\nUnevictable: 0 kB\nAnonPages: "
                         "307300 kB\nShmem: 40960 kB\n"),
            "300 MiB of programs, 40 MiB in files in memory, 20 MiB of page cache");
  EXPECT_EQ(describe_use(""), "");
}

TEST(Listeners, LoopbackIsToldFromAddressesThatOthersReach) {
  const auto line = [](const std::string& local, const std::string& state) {
    return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000 0 0 1 1\n";
  };
  const std::string heading = "  sl  local_address rem_address   st tx_queue rx_queue\n";
  const std::string loopback = heading + line("0100007F:18EB", "0A");
  EXPECT_EQ(listens(6379, loopback, ""), Listens::on_loopback_only);
  EXPECT_EQ(listens(6378, loopback, ""), Listens::nowhere);
  EXPECT_EQ(listens(6379, loopback + line("0F02000A:18EB", "0A"), ""), Listens::for_others);
  EXPECT_EQ(listens(6379, heading + line("00000000:18EB", "0A"), ""), Listens::for_others);
  EXPECT_EQ(listens(6379, heading + line("00000000:18EB", "01"), ""), Listens::nowhere) << "a connection";
  EXPECT_EQ(listens(6379, loopback, line("00000000000000000000000001000000:18EB", "0A")),
            Listens::on_loopback_only);
  EXPECT_EQ(listens(6379, loopback, line("00000000000000000000000000000000:18EB", "0A")),
            Listens::for_others);
  EXPECT_EQ(listens(6379, "nonsense\n\n: :", ""), Listens::nowhere);
}

TEST(Need, NothingIsMissingWhenTheGuestHasEnough) {
  EXPECT_EQ(compute_need(100_MiB, 136_MiB).missing_bytes, 0u);
  EXPECT_GT(compute_need(100_MiB, 136_MiB - 1).missing_bytes, 0u);
}

TEST(Need, AGuestWithLessThanTheReserveHasNothingToGive) {
  const auto need = compute_need(512_MiB, 10_MiB);
  EXPECT_EQ(need.required_bytes, 516_MiB);
  EXPECT_EQ(need.available_bytes, 0u);
  EXPECT_GT(need.missing_bytes, 516_MiB);
}

TEST(Need, WhatIsPluggedIsEnoughAfterItsMemmap) {
  EXPECT_TRUE(rc::check([] {
    const Bytes memory = *rc::gen::inRange<Bytes>(0, 1ULL << 45);
    const Bytes available = *rc::gen::inRange<Bytes>(0, 1ULL << 40);
    const auto need = compute_need(memory, available);
    RC_ASSERT(need.available_bytes + usable_bytes(need.missing_bytes) >= need.required_bytes);
    // To the byte: what an application has beside it was missing once (seed 120011185).
    RC_ASSERT(usable_bytes(plugged_bytes(memory)) == memory);
  }));
}

TEST(ProcessState, ReadsNamesWithSpacesAndParentheses) {
  const auto state = parse_process_state("212 (a) b (c)) T 1 212 300 0 -1 4194304");
  ASSERT_TRUE(state);
  EXPECT_EQ(state->name, "a) b (c)");
  EXPECT_TRUE(state->stopped());
  EXPECT_EQ(state->session, 300);
}

TEST(ProcessState, RefusesGarbage) {
  for (const char* text : {"", "(", ")", ")(", "1 (a)", "1 (a) S", "1 (a) S 1 2", "1 (a) S 1 2 x 4"}) {
    EXPECT_FALSE(parse_process_state(text)) << text;
  }
}

TEST(Users, FindsByNameAndByNumber) {
  const char* passwd =
      "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/var/app:/bin/sh\nbad:x:y:1:::\nnohome:x:5:5:::\n";
  EXPECT_EQ(find_user("app", passwd)->uid, 1000u);
  EXPECT_EQ(find_user("app", passwd)->gid, 1001u);
  EXPECT_EQ(find_user("app", passwd)->home, "/var/app");
  EXPECT_EQ(find_user("nohome", passwd)->home, "/tmp");
  EXPECT_EQ(find_user("1234", passwd)->gid, 1234u);
  EXPECT_EQ(find_user("1234:99", passwd)->gid, 99u);
  for (const char* wanted : {"ap", "", "bad", "4294967295", "-1", "1:", "app:x"}) {
    EXPECT_FALSE(find_user(wanted, passwd)) << wanted;
  }
}

TEST(Uevents, ReadsTheKernelsForm) {
  constexpr char kText[] =
      "online@/devices/system/memory/memory36\0ACTION=online\0DEVPATH=/devices/system/memory/memory36\0"
      "SUBSYSTEM=memory\0SEQNUM=900";
  const auto event = parse_uevent({kText, sizeof kText});
  ASSERT_TRUE(event);
  EXPECT_EQ(event->action, "online");
  EXPECT_EQ(event->name(), "memory36");
  EXPECT_EQ(event->subsystem, "memory");
  EXPECT_FALSE(parse_uevent("libudev\0garbage"));
  EXPECT_TRUE(rc::check([](const std::string& bytes) { (void)parse_uevent(bytes); }));
}

TEST(NotifySocket, OnlyAWholeLineSaysReady) {
  EXPECT_TRUE(says_ready("READY=1"));
  EXPECT_TRUE(says_ready("STATUS=loading\nREADY=1\n"));
  EXPECT_FALSE(says_ready("READY=10"));
  EXPECT_FALSE(says_ready("XREADY=1"));
  EXPECT_FALSE(says_ready(""));
}

TEST(OutputTail, KeepsTheLastWholeLines) {
  OutputTail tail;
  tail.add("first\n");
  EXPECT_EQ(tail.text(), "first\n");
  for (int i = 0; i < 2000; ++i) tail.add("line " + std::to_string(i) + "\n");
  EXPECT_LE(tail.text().size(), OutputTail::kMaxBytes);
  EXPECT_TRUE(tail.text().starts_with("line "));
  EXPECT_TRUE(tail.text().ends_with("line 1999\n"));
}

TEST(OutputTail, OneEndlessLineIsCut) {
  OutputTail tail;
  tail.add(std::string(100'000, 'x'));
  tail.add("end");
  EXPECT_EQ(tail.text().size(), OutputTail::kMaxBytes);
  EXPECT_TRUE(tail.text().ends_with("xend"));
}

}  // namespace
}  // namespace understudy::agent
