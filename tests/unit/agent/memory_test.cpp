#include "agent/engager.hpp"
#include "agent/releaser.hpp"
#include "directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <vector>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;
using test::MemoryDirectory;

protocol::Area area(std::uint32_t id, std::uint64_t first_block, std::uint64_t blocks = 1) {
  return {id, first_block * MemoryDirectory::kBlock, blocks * MemoryDirectory::kBlock};
}

Uevent event(const std::string& action, std::uint64_t block) {
  return {action, "/devices/system/memory/memory" + std::to_string(block), "memory"};
}

class Memory : public testing::Test {
 protected:
  explicit Memory(const std::string& by_itself = "online_movable")
      : directory(by_itself), loop(*Loop::create()), blocks(directory.path()), engager(make_engager()) {}

  Engager make_engager() {
    const auto read = [this] { return read_meminfo(directory.path() + "/meminfo"); };
    return {*loop, blocks, read().total_bytes, read,
            [this](protocol::FromAgent message) { said.push_back(std::move(message)); }};
  }
  // A block comes as the kernel brings it: device, then online, then the event.
  void online(std::uint64_t block) {
    directory.set(block, "online\n");
    engager.on_uevent(event("online", block));
  }
  template <class T>
  T only() {
    EXPECT_EQ(said.size(), 1u);
    const T message = std::get<T>(said.at(0));
    said.clear();
    return message;
  }

  MemoryDirectory directory;
  std::vector<protocol::FromAgent> said;
  std::unique_ptr<Loop> loop;
  MemoryBlocks blocks;
  Engager engager;
};

TEST_F(Memory, BlocksOfAnAreaAreThoseThatItCovers) {
  EXPECT_EQ(*blocks.covering(MemoryDirectory::kBlock * 32, MemoryDirectory::kBlock * 2),
            (std::set<MemoryBlocks::Block>{32, 33}));
  EXPECT_FALSE(blocks.covering(4096, MemoryDirectory::kBlock));
  EXPECT_FALSE(blocks.covering(0, 4096));
  EXPECT_FALSE(blocks.covering(0, 0));
  EXPECT_FALSE(blocks.covering(0, 1ULL << 51));
}

TEST_F(Memory, EngagedOnceEveryBlockIsOnlineAndCounted) {
  engager.engage({1, 7, {area(3, 32), area(4, 33)}});
  online(33);
  EXPECT_TRUE(said.empty());
  directory.set_memory(128 + 252);
  online(32);
  const auto engaged = only<from::Engaged>();
  EXPECT_EQ(engaged.areas, (std::vector<std::uint32_t>{3, 4}));
  EXPECT_EQ(engaged.epoch, 7u);
  EXPECT_EQ(engaged.mem_total_bytes, 380_MiB);
}

TEST_F(Memory, BlocksThatAreOnlineAlreadyNeedNoEvent) {
  directory.set(32, "online\n");
  directory.set_memory(128 + 126);
  engager.engage({1, 7, {area(3, 32)}});
  (void)only<from::Engaged>();
  engager.engage({1, 7, {area(3, 32)}});  // a repetition
  (void)only<from::Engaged>();
}

TEST_F(Memory, AnAddedBlockIsNotYetAnOnlineOne) {
  engager.engage({1, 7, {area(3, 32)}});
  directory.set(32, "offline\n");
  engager.on_uevent(event("add", 32));
  EXPECT_TRUE(said.empty());
  EXPECT_EQ(directory.state(32), "offline\n");  // this kernel onlines by itself
}

TEST_F(Memory, OnlineButNotCountedIsAFailure) {
  engager.engage({1, 7, {area(3, 32)}});
  directory.set_memory(128 + 60);
  online(32);
  EXPECT_NE(only<from::EngageFailed>().why.find("MemTotal is 188 MiB"), std::string::npos);
}

TEST_F(Memory, LostEventsAreMadeUpFor) {
  engager.engage({1, 7, {area(3, 32)}});
  directory.set(32, "online\n");
  directory.set_memory(128 + 126);
  EXPECT_TRUE(said.empty());
  engager.look_again();
  (void)only<from::Engaged>();
}

// Found by the simulator: memory that one application was about to be started in was free as far as the
// kernel knew, and was promised to a second.
TEST_F(Memory, PluggedMemoryIsNobodysUntilItIsEngaged) {
  EXPECT_EQ(engager.unengaged_bytes(), 0u);
  online(32);
  online(33);
  EXPECT_EQ(engager.unengaged_bytes(), 252_MiB);
  directory.set_memory(128 + 252);
  engager.engage({1, 7, {area(3, 32)}});
  EXPECT_EQ(engager.unengaged_bytes(), 126_MiB);
  EXPECT_EQ(engager.engaged_bytes(1), 126_MiB);
  EXPECT_EQ(engager.engaged_bytes(2), 0u);
  engager.engage({2, 8, {area(3, 32)}});
  EXPECT_EQ(engager.engaged_bytes(1), 0u) << "an area is one application's";
  engager.on_uevent(event("offline", 32));
  EXPECT_EQ(engager.engaged_bytes(2), 0u);
  EXPECT_EQ(engager.unengaged_bytes(), 126_MiB);
}

TEST_F(Memory, AnotherDaemonsNumbersChangeNothing) {
  online(32);
  online(33);
  directory.set_memory(128 + 252);
  engager.engage({1, 7, {area(3, 32)}});
  engager.engage({2, 7, {area(4, 33)}});
  engager.renumber({{1, 2}});  // the second is no longer defined
  EXPECT_EQ(engager.engaged_bytes(2), 126_MiB);
  EXPECT_EQ(engager.unengaged_bytes(), 126_MiB);
}

TEST_F(Memory, AnAgentThatWasStartedAnewKnowsWhatWasPlugged) {
  online(32);
  Engager anew = make_engager();
  EXPECT_EQ(anew.unengaged_bytes(), 126_MiB);
  directory.set(32, "offline\n");
  anew.look_again();
  EXPECT_EQ(anew.unengaged_bytes(), 0u);
}

TEST_F(Memory, AnAreaThatIsNoWholeBlockIsRefused) {
  engager.engage({1, 7, {{3, 4096, 4096}}});
  EXPECT_NE(only<from::EngageFailed>().why.find("area 3"), std::string::npos);
}

TEST_F(Memory, OnlySoManyRequestsToTakeAreasInWaitAtOnce) {
  const auto most = static_cast<std::uint32_t>(Engager::kMostPending);
  for (std::uint32_t epoch = 0; epoch < most; ++epoch) engager.engage({1, epoch, {area(3, 32)}});
  EXPECT_TRUE(said.empty());
  engager.engage({1, most, {area(4, 33)}});
  EXPECT_EQ(only<from::EngageFailed>().epoch, most);
  engager.engage({1, 0, {area(3, 32)}});
  EXPECT_TRUE(said.empty()) << "a repetition is no other one";
  directory.set_memory(128 + 126);
  online(32);
  EXPECT_EQ(said.size(), Engager::kMostPending);
  said.clear();
  engager.engage({1, most, {area(4, 33)}});
  EXPECT_TRUE(said.empty()) << "there is room again";
}

TEST_F(Memory, OtherSubsystemsAndNamesAreIgnored) {
  engager.engage({1, 7, {area(3, 32)}});
  directory.set(32, "online\n");
  engager.on_uevent({"online", "/devices/system/memory/memory32", "cpu"});
  engager.on_uevent({"online", "/devices/system/memory/memoryX", "memory"});
  engager.on_uevent({"online", "", "memory"});
  EXPECT_TRUE(said.empty());
}

class OfflineByDefault : public Memory {
 protected:
  OfflineByDefault() : Memory("offline") {}
};

TEST_F(OfflineByDefault, TheAgentOnlinesAsMovable) {
  engager.engage({1, 7, {area(3, 32)}});
  directory.set(32, "offline\n");
  engager.on_uevent(event("add", 32));
  EXPECT_EQ(directory.state(32).substr(0, 14), "online_movable");
  directory.set_memory(128 + 126);
  online(32);
  (void)only<from::Engaged>();
}

// ---- release ----

class Release : public Memory {
 protected:
  Release()
      : children(*Children::create(*loop)),
        releaser(*loop, *children, blocks, directory.path() + "/drop_caches",
                 [this](protocol::FromAgent message) { said.push_back(std::move(message)); }) {
    directory.write("drop_caches", "");
  }
  from::Released answer(Duration most) {
    const Time end = Loop::now() + most;
    while (said.empty() && Loop::now() < end) loop->run_once(10ms);
    return only<from::Released>();
  }

  std::unique_ptr<Children> children;
  Releaser releaser;
};

TEST_F(Release, TakesEveryBlockOffline) {
  directory.set(32, "online");
  directory.set(33, "online");
  directory.set(34, "online");
  releaser.release({1, 7, {area(3, 32), area(4, 33, 2)}, 3000});
  const auto released = answer(20s);
  EXPECT_EQ(released.areas, (std::vector<std::uint32_t>{3, 4}));
  EXPECT_EQ(released.why_not_all, "");
  EXPECT_EQ(directory.state(34), "offline");
  EXPECT_EQ(directory.read("drop_caches"), "1");
}

TEST_F(Release, WhatIsOfflineOrGoneAlreadyIsReleased) {
  directory.set(32, "offline");
  releaser.release({1, 7, {area(3, 32), area(4, 40)}, 3000});
  EXPECT_EQ(answer(20s).areas, (std::vector<std::uint32_t>{3, 4}));
}

TEST_F(Release, ABlockThatBlocksForEverIsCutShortWithinTheLimit) {
  // A FIFO that nobody reads: the child hangs in its first write, as it does in the kernel's offline.
  ASSERT_EQ(::mkfifo((directory.path() + "/hang").c_str(), 0600), 0);
  Releaser hanging(*loop, *children, blocks, directory.path() + "/hang",
                   [this](protocol::FromAgent message) { said.push_back(std::move(message)); });
  directory.set(32, "online");
  directory.set(33, "offline");
  hanging.release({1, 7, {area(3, 32), area(4, 33)}, 400});
  const auto released = answer(20s);
  EXPECT_EQ(released.areas, (std::vector<std::uint32_t>{4}));
  EXPECT_EQ(released.why_not_all,
            "1 of 2 areas (128 MiB of 256 MiB) is still in use by the guest's OS after 400 ms");
}

TEST_F(Release, OnlySoManyRequestsToLetAreasGoWaitAtOnce) {
  ASSERT_EQ(::mkfifo((directory.path() + "/hang").c_str(), 0600), 0);
  Releaser hanging(*loop, *children, blocks, directory.path() + "/hang",
                   [this](protocol::FromAgent message) { said.push_back(std::move(message)); });
  directory.set(32, "online");
  const auto most = static_cast<std::uint32_t>(Releaser::kMostPending);
  for (std::uint32_t epoch = 0; epoch < most; ++epoch) hanging.release({1, epoch, {area(3, 32)}, 500});
  EXPECT_TRUE(said.empty());
  hanging.release({1, most, {area(3, 32)}, 500});
  EXPECT_EQ(said.size(), 1U);
  // All of them in any case: who hangs is ended when his time is up, and else outlives this test.
  const Time end = Loop::now() + 20s;
  while (said.size() < most + 1 && Loop::now() < end) loop->run_once(10ms);
  ASSERT_EQ(said.size(), most + 1);
  EXPECT_EQ(std::get<from::Released>(said.front()).epoch, most);
  EXPECT_EQ(std::get<from::Released>(said.front()).why_not_all,
            "too many requests to release memory at once");
}

TEST_F(Release, AnAreaThatIsOnlyPartlyOfflineIsPutBackOnline) {
  ASSERT_EQ(::mkfifo((directory.path() + "/hang").c_str(), 0600), 0);
  Releaser hanging(*loop, *children, blocks, directory.path() + "/hang",
                   [this](protocol::FromAgent message) { said.push_back(std::move(message)); });
  directory.set(32, "offline");
  directory.set(33, "online");
  hanging.release({1, 7, {area(3, 32, 2)}, 200});
  EXPECT_TRUE(answer(20s).areas.empty());
  EXPECT_EQ(directory.state(32), "online_movable");
  EXPECT_EQ(directory.state(33), "online");
}

}  // namespace
}  // namespace understudy::agent
