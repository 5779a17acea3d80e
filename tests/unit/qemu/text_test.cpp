// What is read from and written for others: command lines, markers, /proc, QEMU's answers.
#include "loop.hpp"
#include "qemu/command_line.hpp"
#include "qemu/guest_files.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/proc.hpp"
#include "qemu/usernet.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <fstream>

#include <boost/json/parse.hpp>

namespace understudy::qemu {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

GuestPlan plan() {
  GuestPlan plan;
  plan.name = "a";
  plan.base_bytes = 128_MiB;
  plan.area_bytes = 128_MiB;
  plan.slots = 8;
  plan.vcpus = 2;
  plan.image = {"/img/vmlinux", "/img/initramfs.cpio", "/img/apps,1.squashfs"};
  plan.ports = {6379, 5432};
  return plan;
}

std::string value_of(const std::vector<std::string>& argv, const std::string& option, std::size_t nth = 0) {
  for (std::size_t i = 0; i + 1 < argv.size(); ++i) {
    if (argv[i] == option && nth-- == 0) return argv[i + 1];
  }
  return "(no " + option + ")";
}

TEST(CommandLine, IsThatOfASmallGuestWithRoomForAreas) {
  const auto argv = command_line({}, plan(), {"/run/understudy", "a", 3});
  EXPECT_EQ(argv[0], "qemu-system-x86_64");
  EXPECT_EQ(value_of(argv, "-name"), "guest=understudy:/run/understudy:a:3,debug-threads=on");
  EXPECT_EQ(value_of(argv, "-m"), "128M,slots=8,maxmem=1152M");
  EXPECT_EQ(value_of(argv, "-smp"), "2") << "no application wants more";
  GuestPlan more = plan();
  more.more_vcpus = 3;
  EXPECT_EQ(value_of(command_line({}, more, {"/run/understudy", "a", 3}), "-smp"), "2,maxcpus=5");
  EXPECT_THAT(argv, Contains("-nodefaults"));
  EXPECT_EQ(value_of(argv, "-kernel"), "/img/vmlinux");
  EXPECT_EQ(value_of(argv, "-initrd"), "/img/initramfs.cpio");
  EXPECT_THAT(value_of(argv, "-append"), HasSubstr("memhp_default_state=online_movable"));
  EXPECT_THAT(value_of(argv, "-sandbox"), HasSubstr("on,"));
  EXPECT_EQ(value_of(argv, "-chardev", 0), "socket,id=qmp,server=on,wait=off,fd=3");
  EXPECT_EQ(value_of(argv, "-chardev", 1), "socket,id=agent,server=on,wait=off,fd=4");
  EXPECT_THAT(argv, Contains("virtserialport,chardev=agent,name=org.understudy.agent.0"));
  EXPECT_EQ(value_of(argv, "-chardev", 2), "ringbuf,id=console,size=8192") << "nobody waits for a reader";
  EXPECT_THAT(argv, Contains("isa-serial,chardev=console"));
  EXPECT_THAT(value_of(argv, "-append"), HasSubstr("console=ttyS0 quiet "));
  EXPECT_EQ(value_of(argv, "-netdev"),
            "user,id=net0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:6379,hostfwd=tcp:127.0.0.1:0-:5432,"
            "hostfwd=tcp:127.0.0.1:0-:1");
  EXPECT_THAT(argv, Contains("panic=pause"));
}

TEST(CommandLine, NoGuestIsOfferedToSuspendItself) {
  auto argv = command_line({}, plan(), {"/run/understudy", "a", 3});
  EXPECT_THAT(argv, Contains("ICH9-LPC.disable_s3=1"));
  EXPECT_THAT(argv, Contains("ICH9-LPC.disable_s4=1"));
  EXPECT_FALSE(offers_suspend(argv));
  std::replace(argv.begin(), argv.end(), std::string("ICH9-LPC.disable_s4=1"), std::string("x"));
  EXPECT_TRUE(offers_suspend(argv)) << "one of an earlier version";
}

TEST(CommandLine, TheSharedDiskIsReadOnlyAndItsNameEscaped) {
  const auto argv = command_line({}, plan(), {"/run/understudy", "a", 3});
  const std::string disk = value_of(argv, "-blockdev");
  EXPECT_THAT(disk, HasSubstr(",read-only=on,"));
  EXPECT_THAT(disk, HasSubstr("file.read-only=on"));
  EXPECT_THAT(disk, HasSubstr("/img/apps,,1.squashfs"));
  GuestPlan without = plan();
  without.image.disk.clear();
  EXPECT_THAT(command_line({}, without, {"/r", "a", 1}), Not(Contains("-blockdev")));
}

TEST(CommandLine, AGuestUnderTcgIsToldHowFastItsCounterCounts) {
  Qemu qemu;
  const auto arguments = [&qemu] { return value_of(command_line(qemu, plan(), {"/r", "a", 1}), "-append"); };
  EXPECT_THAT(arguments(), Not(HasSubstr("tsc_early_khz")));
  qemu.tsc_khz = 2'445'424;
  EXPECT_THAT(arguments(), EndsWith(" tsc_early_khz=2445424"));
  qemu.accelerator = Accelerator::kvm;
  EXPECT_THAT(arguments(), Not(HasSubstr("tsc_early_khz"))) << "KVM tells it";
}

TEST(CommandLine, FollowsTheAcceleratorSandboxAndFirmware) {
  Qemu qemu;
  EXPECT_THAT(value_of(command_line(qemu, plan(), {"/r", "a", 1}), "-accel"), HasSubstr("tcg,"));
  qemu.accelerator = Accelerator::kvm;
  qemu.sandbox = false;
  qemu.firmware = "/usr/share/qemu/qboot.rom";
  qemu.program = "/opt/qemu";
  const auto argv = command_line(qemu, plan(), {"/r", "a", 1});
  EXPECT_EQ(argv[0], "/opt/qemu");
  EXPECT_EQ(value_of(argv, "-accel"), "kvm");
  EXPECT_EQ(value_of(argv, "-cpu"), "host");
  EXPECT_EQ(value_of(argv, "-bios"), "/usr/share/qemu/qboot.rom");
  EXPECT_THAT(argv, Not(Contains("-sandbox")));
}

TEST(CommandLine, AUserOfItsOwnGetsTheImagesAsDescriptors) {
  const auto argv = command_line({}, plan(), {"/run/understudy", "a", 3}, ImageAccess::by_descriptor);
  EXPECT_EQ(value_of(argv, "-kernel"), "/proc/self/fd/5");
  EXPECT_EQ(value_of(argv, "-initrd"), "/proc/self/fd/6");
  EXPECT_EQ(value_of(argv, "-add-fd"), "fd=7,set=1");
  EXPECT_THAT(value_of(argv, "-blockdev"), HasSubstr("file.filename=/dev/fdset/1"));
  for (const std::string& argument : argv)
    EXPECT_THAT(argument, Not(HasSubstr("/img"))) << "a path that it cannot use";
  EXPECT_THAT(command_line({}, plan(), {"/run/understudy", "a", 3}), Not(Contains("-add-fd")));
}

TEST(CommandLine, AGuestWithoutSlotsHasNoRoomForAreas) {
  GuestPlan small = plan();
  small.slots = 0;
  EXPECT_EQ(value_of(command_line({}, small, {"/r", "a", 1}), "-m"), "128M");
}

TEST(CommandLine, AreaNamesGoBothWays) {
  EXPECT_EQ(backend_id({7}), "mem-0007");
  EXPECT_EQ(dimm_id({12345}), "dimm-12345");
  EXPECT_EQ(area_of_id("dimm-0007", "dimm-"), core::AreaId{7});
  EXPECT_EQ(area_of_id("dimm-12345", "dimm-"), core::AreaId{12345});
  for (const char* id : {"", "dimm-", "dimm-7", "dimm-00x7", "mem-0007", "dimm-99999999999", "dimm-0007 "})
    EXPECT_EQ(area_of_id(id, "dimm-"), std::nullopt) << id;
}

TEST(Marker, IsFoundAgainWhateverTheRunDirectoryIsCalled) {
  for (const char* dir : {"/run/understudy", "/tmp/with,comma", "/tmp/with:colon", "/tmp/,,:,", "/"}) {
    const Marker marker{dir, "guest-1", 42};
    EXPECT_EQ(find_marker({"qemu", "-name", name_option(marker), "-x"}), marker) << dir;
  }
}

TEST(Marker, IsNotSeenInOtherCommandLines) {
  EXPECT_EQ(find_marker({}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name"}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name", "guest=web"}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name", "guest=understudy:"}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name", "guest=understudy:/run:a"}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name", "guest=understudy:/run:a:x"}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name", "guest=understudy:/run:a:-1"}), std::nullopt);
  EXPECT_EQ(find_marker({"qemu", "-name", "guest=understudy:/run:a:99999999999"}), std::nullopt);
  EXPECT_EQ(find_marker({"grep", "guest=understudy:/run:a:1"}), std::nullopt);
}

TEST(Proc, ReadsAStatLineWhateverTheProcessIsCalled) {
  const std::string rest = " 1 2 3 4 5 4194564 7 8 9 10 250 50 0 0 20 0 1 0 100\n";
  const auto stat = parse_task_stat("77 (CPU 0) T) S" + rest);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->name, "CPU 0) T");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->flags, 4194564u);
  EXPECT_EQ(stat->cpu_ticks, 300u);
  EXPECT_TRUE(stat->is_over()) << "PF_EXITING is set";
  EXPECT_FALSE(parse_task_stat("77 (x) T 1 2 3 4 5 4194560 7 8 9 10 250 50 0")->is_over()) << "only stopped";
  EXPECT_TRUE(parse_task_stat("77 (x) Z 1 2 3 4 5 0 7 8 9 10 250 50 0")->is_over());
  for (const char* text : {"", "77", "77 (x", "77 (x)", "77 (x) S 1 2", ") 1 ("})
    EXPECT_FALSE(parse_task_stat(text)) << text;
}

TEST(Proc, ThisProcessRuns) {
  EXPECT_FALSE(all_threads_over(::getpid()));
  EXPECT_TRUE(all_threads_over(1 << 22)) << "no such process";
  ASSERT_TRUE(process_stat(::getpid()));
  EXPECT_EQ(process_stat(::getpid())->state, 'R');
  EXPECT_GT(proportional_memory(::getpid()).value().bytes, 100_KiB);
  EXPECT_GE(resident_memory(::getpid()).value().bytes, 100_KiB);
  EXPECT_FALSE(resident_memory(1 << 22));
  // A touched area counts as one in both, and goes with its mapping.
  const Bytes before = proportional_memory(::getpid())->areas_bytes;
  void* area =
      ::mmap(nullptr, 8_MiB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ASSERT_NE(area, MAP_FAILED);
  EXPECT_EQ(proportional_memory(::getpid())->areas_bytes, before + 8_MiB);
  EXPECT_GE(resident_memory(::getpid())->areas_bytes, 8_MiB);
  ::munmap(area, 8_MiB);
  EXPECT_EQ(proportional_memory(::getpid())->areas_bytes, before);
  EXPECT_THAT(arguments_of(::getpid()), Not(testing::IsEmpty()));
  EXPECT_THAT(split_arguments(std::string_view("a\0\0b", 4)), ElementsAre("a", "", "b"));
}

// Found when fuzz_qmp was written: what was quoted was cut inside a character, and C1 controls passed.
TEST(MonitorReply, AStrangeAnswerIsQuotedFitToBeShown) {
  boost::json::array strange;
  for (int i = 0; i < 150; ++i) strange.emplace_back("\xc3\xa4\xc2\x9b\x7f");
  for (const boost::json::value& reply : {boost::json::value(strange), boost::json::value("\xc2\x9b"
                                                                                          "2J")}) {
    const auto status = read_status(reply);
    ASSERT_FALSE(status);
    EXPECT_LT(status.error().message.size(), 400u);
    for (const char c : status.error().message) EXPECT_TRUE(c >= ' ' && c < 0x7f) << status.error().message;
  }
  const auto named = read_status({{"running", true}, {"status", "\x1b[2J" + std::string(500, 's')}});
  ASSERT_TRUE(named);
  EXPECT_EQ(named->name, "?[2J" + std::string(60, 's') + "...");
}

TEST(MonitorReply, PlacesForVcpusHaveALimit) {
  const auto places = [](std::size_t count) {
    boost::json::array list;
    for (std::size_t i = 0; i < count; ++i) list.push_back({{"type", "cpu"}, {"props", {{"core-id", i}}}});
    return read_hotpluggable_cpus(list);
  };
  ASSERT_TRUE(places(512));
  EXPECT_EQ(places(512)->size(), 512u);
  EXPECT_FALSE(places(513));
}

TEST(Usernet, FindsForwardedPorts) {
  const auto ports = parse_usernet(
      "Hub -1 (net0):\r\n"
      "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
      "  TCP[ESTABLISHED]   23       127.0.0.1 33465       10.0.2.15  6379     0     0\r\n"
      "  TCP[HOST_FORWARD]  13       127.0.0.1 45519       10.0.2.15  6379     0     0\r\n"
      "  TCP[HOST_FORWARD]  12       127.0.0.1 33933       10.0.2.15     1     0     0\r\n"
      "  UDP[236 sec]       18               *     9         1.2.3.4   123     0     0\r\n");
  EXPECT_EQ(ports, (ForwardedPorts{{6379, 45519}, {1, 33933}}));
  EXPECT_TRUE(parse_usernet("").empty());
  EXPECT_TRUE(parse_usernet("TCP[HOST_FORWARD] 1 127.0.0.1 99999 10.0.2.15 1 0 0\n").empty());
  EXPECT_TRUE(parse_usernet("TCP[HOST_FORWARD] 1 127.0.0.1\n").empty());
}

TEST(GuestPlans, AGuestForwardsThePortsOfWhatItMayServe) {
  config::Config config;
  config.guests.resize(2);
  config.guests[0].name = "a";
  config.guests[1].name = "b";
  config::Application redis;
  redis.guests = {{0}, {1}};
  redis.address = config::Address{};
  redis.address->guest_port = 6379;
  config::Application odd = redis;
  odd.guests = {{1}};
  odd.address->guest_port = 1;
  config::Application silent = redis;
  silent.address.reset();
  config.applications = {redis, redis, odd, silent};
  const auto plans = guest_plans(config);
  EXPECT_THAT(plans.at(0).ports, ElementsAre(6379));
  EXPECT_EQ(plans.at(0).closed_port, 1);
  EXPECT_THAT(plans.at(1).ports, ElementsAre(6379, 1));
  EXPECT_EQ(plans.at(1).closed_port, 2) << "the probe needs a port that nobody uses";
}

TEST(GuestFiles, ASocketPathThatIsTooLongIsAClearError) {
  EXPECT_TRUE(GuestFiles::at("/run/understudy", "a"));
  const auto files = GuestFiles::at("/" + std::string(90, 'd'), "guest");
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message, HasSubstr("the kernel allows only 107"));
  EXPECT_THAT(files.error().message, HasSubstr("shorter --run-dir"));
}

TEST(GuestFiles, PrepareClearsAFormerRunButKeepsItsLog) {
  const TemporaryDirectory run_dir;
  const auto files = GuestFiles::at(run_dir.path, "a").value();
  ASSERT_TRUE(files.prepare());
  ASSERT_TRUE(listen_on(files.qmp_socket));
  EXPECT_FALSE(listen_on(files.qmp_socket)) << "it is there already";
  ASSERT_TRUE(files.write_process(::getpid(), 7));
  const auto written = files.read_process();
  ASSERT_TRUE(written);
  EXPECT_EQ(written->pid, ::getpid());
  EXPECT_EQ(written->run, 7u);
  EXPECT_TRUE(written->lives());
  std::ofstream(files.log) << "first\nlast \x1b[31mwords\n\n";
  EXPECT_EQ(files.last_log_line(), "last ?[31mwords");
  ASSERT_TRUE(files.prepare());
  EXPECT_FALSE(std::filesystem::exists(files.qmp_socket));
  EXPECT_FALSE(files.read_process());
  EXPECT_EQ(files.last_log_line(), "");
  EXPECT_TRUE(std::filesystem::exists(files.log.string() + ".old"));
}

// A pid goes to somebody else in time: he is not taken for it.
TEST(GuestFiles, AProcessIsKnownByWhenItWasStarted) {
  const TemporaryDirectory run_dir;
  const auto files = GuestFiles::at(run_dir.path, "a").value();
  ASSERT_TRUE(files.prepare());
  const std::string start = std::to_string(process_stat(::getpid())->start_ticks);
  const std::string later = std::to_string(process_stat(::getpid())->start_ticks + 1);
  const auto lives = [&](const std::string& line) -> std::string {
    std::ofstream(files.pid) << line;
    const auto written = files.read_process();
    return !written ? "nobody" : written->lives() ? "lives" : "another";
  };
  const std::string pid = std::to_string(::getpid());
  EXPECT_EQ(lives(pid + " 3 " + start + " " + boot_id() + "\n"), "lives");
  EXPECT_EQ(lives(pid + " 3 " + later + " " + boot_id() + "\n"), "another");
  EXPECT_EQ(lives(pid + " 3 " + start + " 0123-another-start-of-the-host\n"), "nobody");
  EXPECT_EQ(lives(pid + "\n"), "another")
      << "an earlier release wrote the pid alone: its word proves nothing";
  EXPECT_EQ(lives(pid + " 3 " + start + "\n"), "another") << "torn";
  for (const char* line : {"", "1 3 5 x", "-7 3 5 x", "garbage", "99999999999999999999 1 1 x"})
    EXPECT_EQ(lives(line), "nobody") << line;
}

TEST(GuestFiles, WhatIsNotOursInAGuestsDirectoryStays) {
  namespace fs = std::filesystem;
  const TemporaryDirectory run_dir;
  for (const char* guest : {"a", "b"}) {
    const auto files = GuestFiles::at(run_dir.path, guest).value();
    ASSERT_TRUE(files.prepare());
    ASSERT_TRUE(listen_on(files.qmp_socket));
    std::ofstream(files.log) << "log";
  }
  const fs::path a = run_dir.path / "guests" / "a";
  std::ofstream(a / "somebody's") << "data";
  fs::create_directories(a / "agent.sock.d");
  EXPECT_FALSE(remove_all_guest_files(run_dir.path)) << "the directory is not empty";
  EXPECT_FALSE(fs::exists(run_dir.path / "guests" / "b"));
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(a)) left.push_back(entry.path().filename());
  EXPECT_THAT(left, testing::UnorderedElementsAre("somebody's", "agent.sock.d"));
  fs::remove_all(a);
  EXPECT_TRUE(remove_all_guest_files(run_dir.path));
  EXPECT_FALSE(fs::exists(run_dir.path / "guests"));
}

TEST(MonitorReply, ReadsWhatQemuSays) {
  const auto status = read_status(boost::json::parse(R"({"running": false, "status": "guest-panicked"})"));
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->running);
  EXPECT_EQ(status->name, "guest-panicked");
  EXPECT_TRUE(status->only_a_command_ends_it());
  const auto contradictory = read_status(boost::json::parse(R"({"running": true, "status": "paused"})"));
  ASSERT_TRUE(contradictory);
  EXPECT_FALSE(contradictory->only_a_command_ends_it());
  const auto devices = read_memory_devices(boost::json::parse(
      R"([{"type": "dimm", "data": {"id": "dimm-0003", "addr": 4294967296, "size": 134217728}},
          {"type": "dimm", "data": {"id": "somebody-else", "addr": 1}}])"));
  ASSERT_TRUE(devices);
  ASSERT_EQ(devices->size(), 1u);
  EXPECT_EQ(devices->at(0).area, core::AreaId{3});
  EXPECT_EQ(devices->at(0).guest_address, 0x100000000u);
  const auto backends = read_backends(boost::json::parse(
      R"([{"name": "type", "type": "string"}, {"name": "mem-0003", "type": "child<memory-backend-file>"}])"));
  EXPECT_THAT(backends.value(), ElementsAre(core::AreaId{3}));
}

TEST(MonitorReply, PlacesForVcpusComeLowestFirstWithWhoseTheyAre) {
  const auto places = read_hotpluggable_cpus(boost::json::parse(
      R"([{"type": "c", "vcpus-count": 1, "props": {"socket-id": 0, "core-id": 10, "thread-id": 0}},
          {"type": "c", "props": {"socket-id": 0, "core-id": 2, "thread-id": 0}},
          {"type": "c", "qom-path": "/machine/peripheral/vcpu-3-1", "props": {"core-id": 1}},
          {"type": "c", "qom-path": "/machine/unattached/device[0]", "props": {"core-id": 0}}])"));
  ASSERT_TRUE(places) << places.error().message;
  ASSERT_EQ(places->size(), 4u);
  EXPECT_TRUE(places->at(0).taken);
  EXPECT_FALSE(places->at(0).name);
  EXPECT_EQ(places->at(1).name, (VcpuName{core::AppId{3}, 1}));
  EXPECT_FALSE(places->at(2).taken);
  EXPECT_EQ(places->at(2).props.at("core-id").to_number<int>(), 2);
  EXPECT_EQ(places->at(3).props.at("core-id").to_number<int>(), 10);
}

TEST(MonitorReply, NamesOfVcpusAreReadInTheOneWayInWhichTheyAreWritten) {
  EXPECT_EQ(vcpu_id(core::AppId{3}, 1), "vcpu-3-1");
  for (const char* name : {"vcpu-", "vcpu-3", "vcpu-3-", "vcpu--1", "vcpu-03-1", "vcpu-3-1x",
                           "vcpu-3-99999999999", "dimm-0001", "cpu-3-1"}) {
    EXPECT_FALSE(vcpu_of_id(name)) << name;
  }
}

TEST(MonitorReply, RefusesOtherForms) {
  for (const char* text : {"5", "{}", "[]", R"({"running": 1, "status": "x"})", R"({"running": true})"})
    EXPECT_FALSE(read_status(boost::json::parse(text))) << text;
  EXPECT_FALSE(read_memory_devices(boost::json::parse("{}")));
  EXPECT_FALSE(read_memory_devices(boost::json::parse(R"([{"data": {"id": "dimm-0003", "addr": "x"}}])")));
  EXPECT_FALSE(read_backends(boost::json::parse("5")));
  for (const char* text :
       {"5", "{}", "[5]", R"([{"props": {}}])", R"([{"type": "", "props": {}}])", R"([{"type": "c"}])",
        R"([{"type": "c", "props": {"core-id": "1"}}])", R"([{"type": "c", "props": {"core-id": -1}}])",
        R"([{"type": "c", "props": {"driver": 1}}])", R"([{"type": "c", "props": {}, "qom-path": 5}])"}) {
    EXPECT_FALSE(read_hotpluggable_cpus(boost::json::parse(text))) << text;
  }
  std::string many = "[";
  for (int i = 0; i < 600; ++i) many += R"({"type": "c", "props": {}},)";
  many.back() = ']';
  EXPECT_FALSE(read_hotpluggable_cpus(boost::json::parse(many)));
}

}  // namespace
}  // namespace understudy::qemu
