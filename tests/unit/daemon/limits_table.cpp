#include "limits_table.hpp"

#include "agent/container.hpp"
#include "agent/engager.hpp"
#include "agent/inheritance.hpp"
#include "agent/notify_socket.hpp"
#include "agent/output_tail.hpp"
#include "agent/own_files.hpp"
#include "agent/port.hpp"
#include "agent/releaser.hpp"
#include "base/bounded_file.hpp"
#include "base/descriptors.hpp"
#include "config/limits.hpp"
#include "control/command.hpp"
#include "control/event_budget.hpp"
#include "control/event_log.hpp"
#include "control/line_writer.hpp"
#include "control/server.hpp"
#include "core/limits.hpp"
#include "core/report.hpp"
#include "daemon/clean_up.hpp"
#include "daemon/loop_watch.hpp"
#include "gateway/limits.hpp"
#include "hooks/hook_process.hpp"
#include "hooks/hook_runner.hpp"
#include "journal/file_journal.hpp"
#include "link/agent_links.hpp"
#include "link/interpreter.hpp"
#include "link/rate_limit.hpp"
#include "link/requests.hpp"
#include "protocol/limits.hpp"
#include "qemu/console.hpp"
#include "qemu/dump_store.hpp"
#include "qemu/inspector.hpp"
#include "qemu/launch.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/qmp_codec.hpp"
#include "qemu/spawn.hpp"

// A figure with its name, so that no other can stand in its place.
#define COUNT(constant)                                                   \
  Figure {                                                                \
#constant, std::to_string(static_cast <unsigned long long>(constant)) \
  }
#define SIZE(constant)                                    \
  Figure {                                                \
#constant, format_size(static_cast <Bytes>(constant)) \
  }
#define TIME(constant)                             \
  Figure {                                         \
#constant, format_duration(Duration(constant)) \
  }

namespace understudy::documents {

namespace {

using control::EventBudget;
using control::EventLog;
using control::LineWriter;
using control::Server;
using link::AgentLinks;

const char* const kNobody = "nobody yet";

Party guest() {
  return {
      "A guest, by what its agent says",
      "The line between a guest and the daemon, and what the daemon keeps of what comes by it.",
      {
          {"messages",
           "{} a second",
           "guest",
           "read later: the guest waits, nobody else",
           "link/rate_limit.hpp",
           "`LinkTest.AFloodIsReadNoFasterThanItsLimitAndReported`, `fuzz.lying_agent`",
           {COUNT(link::kMessagesPerSecond)}},
          {"bytes",
           "{} a second",
           "guest",
           "read later",
           "link/rate_limit.hpp",
           "`LinkTest.LongLinesAreReadNoFasterThanTheLimitOfBytes`",
           {SIZE(link::kBytesPerSecond)}},
          {"greetings that are answered",
           "{} a second",
           "guest",
           "the rest is not answered",
           "link/rate_limit.hpp",
           "`LinkTest.HellosAreAnsweredOnlySoOften`",
           {COUNT(link::kHellosPerSecond)}},
          {"one message",
           "{} to the daemon, {} to the agent",
           "message",
           "dropped without being kept; a violation of the protocol",
           "protocol/limits.hpp",
           "`Limits.OfALine`, `LinkTest.AnEndlessLineIsDroppedWithoutBeingKept`, "
           "`PortTest.TooLongALineIsDroppedAndTheNextIsRead`",
           {SIZE(protocol::kMaxLineToDaemon), SIZE(protocol::kMaxLineToAgent)}},
          {"nesting of a message",
           "{}",
           "message",
           "refused",
           "protocol/limits.hpp",
           "`Codec.DeepNestingIsRefused`",
           {COUNT(protocol::kMaxDepth)}},
          {"texts",
           "names {} B, sentences {} B, evidence {} B, an output's tail {} B, arguments {} B",
           "text",
           "cut (free text), or the message is refused",
           "protocol/limits.hpp",
           "`Limits.OfFreeTextsOnArrival`, `Limits.OfATail`, `Codec.OversizedLinesListsAndTextsAreRefused`",
           {COUNT(protocol::kMaxNameBytes), COUNT(protocol::kMaxWhyBytes), COUNT(protocol::kMaxEvidenceBytes),
            COUNT(protocol::kMaxTailBytes), COUNT(protocol::kMaxArgumentBytes)}},
          {"lists",
           "{} applications, {} states, {} areas, {} arguments, {} variables, {} scratch directories",
           "message",
           "the message is refused",
           "protocol/limits.hpp",
           "`protocol/limits_test`, `Codec.OversizedLinesListsAndTextsAreRefused`",
           {COUNT(protocol::kMaxApplications), COUNT(protocol::kMaxStates), COUNT(protocol::kMaxAreas),
            COUNT(protocol::kMaxArguments), COUNT(protocol::kMaxEnvironment), COUNT(protocol::kMaxScratch)}},
          {"numbers",
           "times {} ms, sizes {} B, epochs {}, others {}",
           "field",
           "the message is refused",
           "protocol/limits.hpp",
           "`Limits.OfNumbers`",
           {COUNT(protocol::kMaxDurationMs), COUNT(protocol::kMaxBytes), COUNT(protocol::kMaxEpoch),
            COUNT(protocol::kMaxNumber)}},
          {"memory that it may say it needs beyond what it was asked for",
           "{}",
           "answer",
           "a violation of the protocol",
           "link/interpreter.hpp",
           "`InterpreterTest.ANeedMustHaveBeenAskedForAndBeReasonable`",
           {SIZE(link::kMostMarginBytes)}},
          {"violations of the protocol",
           "{} within {}, one of a kind a second counted",
           "guest",
           "the guest is fenced",
           "core/limits.hpp",
           "`Untrusted.AnAgentThatMisbehavesAgainAndAgainIsFenced`, "
           "`LinkTest.GarbageIsOneMisbehaviourASecondAndNothingElse`",
           {COUNT(core::kMostMisdeeds), TIME(core::kMisdeedWindow)}},
          {"what was said to it and not read",
           "{}",
           "guest",
           "its connection is begun anew",
           "link/agent_links.hpp",
           "`LinkTest.AGuestThatDoesNotReadIsLostAndCostsABoundedQueue`",
           {SIZE(AgentLinks::kMaxQueuedBytes)}},
          {"requests that it has not answered",
           "{}",
           "guest",
           "further ones are not asked",
           "link/requests.hpp",
           "`Requests.AreBounded`",
           {COUNT(link::Requests::kMost)}},
          {"events that it causes by talking",
           "{} of each kind, then one every {}",
           "guest and kind",
           "counted; one `events-held-back` every {} says how many of what",
           "control/event_budget.hpp",
           "`event_budget_test`",
           {COUNT(EventBudget::kAtOnce), TIME(EventBudget::kOneMoreEach), TIME(EventBudget::kTellEach)}},
          {"starts that fail",
           "one after {}, doubling up to {}",
           "guest",
           "the next start waits",
           "core/limits.hpp",
           "`FirstStart.AGuestThatNeverGetsReadyIsFencedAndLaunchedEverMoreRarely`",
           {TIME(core::kFirstBackoff), TIME(core::kLongestBackoff)}},
          {"the end of its console",
           "{} kept by QEMU, {} lines and {} B shown",
           "guest",
           "older bytes are gone; the guest never waits",
           "qemu/console.hpp",
           "`console_test`, `e2e.console_flood`",
           {SIZE(qemu::kConsoleBytes), COUNT(qemu::kMostWordsLines), COUNT(qemu::kMostWordsBytes)}},
      }};
}

Party application() {
  return {"An application, in its guest",
          "What one application can take from the others in the same guest, and from the guest's kernel.",
          {
              {"memory",
               "its areas and its part of the base memory",
               "application",
               "the kernel ends it in its cgroup; more is asked for first, where the configuration allows it",
               "",
               "`application_memory_test`, `e2e.out_of_memory`",
               {}},
              {"files of its own",
               "its memory limit in bytes; one for {} of it, and one for {} of the base memory",
               "application",
               "no space left, for itself alone",
               "agent/own_files.hpp",
               "`OwnFilesTest.MayHoldAsMuchAsItsMemory`, `OwnFiles.TheirNumberIsBoundedByTheBaseMemory`",
               {SIZE(agent::kBytesPerFile), SIZE(agent::kBaseBytesPerFile)}},
              {"processes and threads",
               "an equal share of what the guest's kernel can have",
               "application",
               "it cannot make more; its fault says that it was refused some",
               "",
               "`kernel_limits_test`, `e2e.neighbours`",
               {}},
              {"TCP ports of the guest",
               "any but those of the other applications' addresses",
               "application",
               "the kernel refuses (EPERM)",
               "",
               "`port_guard_test`, `e2e.neighbours`",
               {}},
              {"tables of the guest's kernel (threads, files, watches, connections, buffers)",
               "a part of the base memory each (`agent/kernel_limits.cpp`)",
               "guest",
               "the kernel refuses",
               "",
               "`kernel_limits_test`, `e2e.guest_memory`",
               {}},
              {"open files",
               "{}",
               "process",
               "the kernel refuses",
               "agent/inheritance.hpp",
               kNobody,
               {COUNT(agent::kMostDescriptors)}},
              {"cgroups that it makes below its own",
               "{}, {} deep",
               "application",
               "what is beyond is not looked at when its processes are listed; the kernel's `cgroup.kill` "
               "reaches it all the same",
               "agent/container.hpp",
               kNobody,
               {COUNT(agent::kMostCgroups), COUNT(agent::kMostDepth)}},
              {"its word that it is ready",
               "{}",
               "message",
               "cut",
               "agent/notify_socket.hpp",
               "`ApplicationTest.ReadyBehindALongStatusIsNotLost`",
               {SIZE(agent::kMaxDatagramBytes)}},
              {"what is kept of its output",
               "{} as evidence",
               "application",
               "the oldest lines go",
               "agent/output_tail.hpp",
               "`OutputTail.KeepsTheLastWholeLines`, `OutputTail.OneEndlessLineIsCut`",
               {SIZE(agent::OutputTail::kMaxBytes)}},
              {"restarts in place",
               "as configured (`restart`)",
               "application",
               "the fault is unrecoverable",
               "",
               "`fault_policy_test`, `e2e.restart_in_place`",
               {}},
          }};
}

Party agent() {
  return {"The daemon, towards an agent",
          "What comes down the line costs an agent, which lives in the base memory, no more than this.",
          {
              {"areas to take in",
               "{}",
               "guest",
               "refused",
               "agent/engager.hpp",
               kNobody,
               {COUNT(agent::Engager::kMostPending)}},
              {"areas to let go of",
               "{}",
               "guest",
               "refused",
               "agent/releaser.hpp",
               kNobody,
               {COUNT(agent::Releaser::kMostPending)}},
              {"what the host does not read",
               "{}",
               "guest",
               "dropped, and said again when there is room",
               "agent/port.hpp",
               "`PortTest.AHostThatDoesNotReadCostsABoundedQueueAndIsCaughtUpWith`",
               {SIZE(agent::Port::kMaxQueuedBytes)}},
          }};
}

Party qemu_process() {
  return {"A guest's QEMU",
          "What it may use of the host, and what of its words the daemon takes. Without root it has the "
          "limits of the "
          "daemon's user (docs/threat-model.md).",
          {
              {"memory of the pool",
               "the areas that were plugged",
               "guest",
               "the table decides; nothing is overcommitted",
               "",
               "`sim.swarm`, `formal.model`, `given_areas_test`, `e2e.tampered_areas`",
               {}},
              {"a file that it can write to",
               "an area, or its base memory and {}, whichever is more",
               "file",
               "it grows no further, whoever opened it, and QEMU gets an error (EFBIG)",
               "qemu/launch.hpp",
               "`QemuProcessTest.NoFileThatItWasGivenBecomesLongerThanItMayAndItLivesOn`, "
               "`UsersTest.AQemuIsItsUserAndHasNothingElse`, `e2e.crash_dump`",
               {SIZE(qemu::kMostBeyondBase)}},
              {"threads",
               "{}",
               "QEMU with a user of its own",
               "it cannot make more",
               "qemu/spawn.hpp",
               "`UsersTest.AQemuIsItsUserAndHasNothingElse`",
               {COUNT(qemu::kMostThreads)}},
              {"System V memory, queues and semaphores, POSIX queues",
               "none",
               "QEMU with a user of its own",
               "it cannot make one",
               "qemu/spawn.hpp",
               "`e2e.network_of_its_own`",
               {}},
              {"what it tells by itself and nobody expects",
               "one look at the guest a second, {} kinds of at most {} told",
               "guest",
               "counted as others",
               "qemu/inspector.hpp",
               "`hypervisor_look_test`",
               {COUNT(qemu::kMostEventKinds), SIZE(qemu::kMostEventNameBytes)}},
              {"a QMP message",
               "{}, nested {} deep",
               "message",
               "the monitor is lost, and QEMU is ended",
               "qemu/qmp_codec.hpp",
               "`QmpCodec.ALineHasALimit`, `QmpCodec.NestingHasALimit`, `fuzz.qmp`",
               {SIZE(qemu::QmpCodec::kMaxLineBytes), COUNT(qemu::QmpCodec::kMaxNesting)}},
              {"texts of its errors",
               "class {} B, words {} B",
               "answer",
               "cut",
               "qemu/qmp_codec.hpp",
               "`QmpCodec.TheTextsOfAnErrorAreFitToBeShown`",
               {COUNT(qemu::QmpCodec::kMostErrorClassBytes), COUNT(qemu::QmpCodec::kMostErrorBytes)}},
              {"places for vCPUs that it names",
               "{}",
               "answer",
               "the answer is refused",
               "qemu/monitor_reply.hpp",
               "`MonitorReply.PlacesForVcpusHaveALimit`",
               {COUNT(qemu::kMostPlaces)}},
              {"its log, and the gateway's",
               "{}, of which {} are kept",
               "file",
               "cut back every 5 s, while a daemon runs",
               "daemon/clean_up.hpp",
               "`BoundedFileTest.ALogOfAnotherProcessIsCutBackAndItsWriterGoesOnAtItsStart`",
               {SIZE(daemon::kMostLogBytes), SIZE(daemon::kKeptLogBytes)}},
              {"crash dumps",
               "as configured (`[dumps]`: number and bytes), and {} of the disk left free",
               "all guests",
               "the oldest go; one that does not fit is not written, and the event `no-dump` says so",
               "qemu/dump_store.hpp",
               "`dump_store_test`, `e2e.crash_dump`",
               {SIZE(qemu::kLeftFree)}},
          }};
}

Party clients() {
  return {"A client at an address",
          "The gateway counts connections for each application, not for each client: a client can use up "
          "what its "
          "application has, and no more.",
          {
              {"connections",
               "{}, and never those that are kept free for the others (half of all, shared out equally)",
               "application",
               "the next wait in the kernel",
               "gateway/limits.hpp",
               "`connection_budget_test`, `ServicesTest.WhenEveryConnectionIsTakenTheNextWaitInTheKernel`, "
               "`e2e.idle_clients`",
               {COUNT(gateway::kMostConnected)}},
              {"connections that wait for an application that is down",
               "{}",
               "application",
               "reset",
               "gateway/limits.hpp",
               "`ServicesTest.OnlySoManyWait`, `ServicesTest.ThoseWhoLeftMakeRoom`",
               {COUNT(gateway::kMostWaiting)}},
              {"connections that were not accepted yet",
               "{} in the kernel, {} accepted at a time",
               "application",
               "the kernel refuses; others have their turn",
               "gateway/limits.hpp",
               kNobody,
               {COUNT(gateway::kBacklog), COUNT(gateway::kAcceptsPerWake)}},
              {"bytes on their way",
               "{}",
               "connection and direction",
               "the sender waits, nobody else",
               "gateway/limits.hpp",
               "`ServicesTest.AReceiverThatDoesNotReadHoldsUpTheSenderAndNobodyElse`",
               {SIZE(gateway::kChunkBytes)}},
              {"descriptors of the gateway",
               "all but {}, {} for a connection",
               "gateway",
               "no further connection is accepted; looked at again after {}",
               "gateway/limits.hpp",
               "`ServicesTest.WhenEveryConnectionIsTakenTheNextWaitInTheKernel`",
               {COUNT(gateway::kReservedDescriptors), COUNT(gateway::kDescriptorsPerConnection),
                TIME(gateway::kAcceptPause)}},
              {"what the check of the clients' way listens to",
               "{} B",
               "attempt",
               "cut",
               "gateway/limits.hpp",
               "`PathCheckTest.WhatIsHeardIsBounded`",
               {COUNT(gateway::kMostHeardBytes)}},
          }};
}

Party control_socket() {
  return {
      "Who can open the control socket",
      "Who can open it may do everything; these limits hold mistakes: a script that leaves connections open.",
      {
          {"connections",
           "{}",
           "daemon",
           "refused, with the reason",
           "control/server.hpp",
           "`CrowdedServer.MoreThanTheMostAreToldSoAndOneThatLeavesMakesRoom`",
           {COUNT(Server::kMostSessions)}},
          {"descriptors of the daemon",
           "all but {}",
           "daemon",
           "refused, with the reason",
           "base/descriptors.hpp",
           "`CrowdedServer.TheLastDescriptorsAreNotForConnections`, `e2e.out_of_descriptors`",
           {COUNT(kReservedDescriptors)}},
          {"a request",
           "{}",
           "request",
           "refused, and the connection ends",
           "control/command.hpp",
           "`ServerTest.ARequestWithoutEndIsRefused`, `ServerTest.ARequestOfExactlyTheLimitIsServed`, "
           "`fuzz.control`",
           {SIZE(control::kLongestRequestBytes)}},
          {"answers and events that were not read",
           "{} lines, {}",
           "connection",
           "the connection ends",
           "control/server.hpp",
           "`ServerTest.AFollowerThatDoesNotReadIsCutOff`",
           {COUNT(Server::kMostQueuedLines), SIZE(Server::kMostQueuedBytes)}},
          {"maintenance",
           "from {} to {}",
           "order",
           "refused",
           "control/command.hpp",
           "`command_test`",
           {TIME(control::kShortestMaintenance), TIME(control::kLongestMaintenance)}},
      }};
}

Party history() {
  return {"The history of events, and what is written to disks",
          "Everybody causes events. Who causes many pushes out only its own.",
          {
              {"events in memory",
               "{}, {}",
               "daemon",
               "the oldest of the fullest kind of the fullest source goes: with S sources, one that has no "
               "more than 1/S loses nothing",
               "control/event_log.hpp",
               "`event_history_test`",
               {COUNT(EventLog::kMostEvents), SIZE(EventLog::kMostEventBytes)}},
              {"`events.jsonl` and `understudyd.log`",
               "2 x {} and 2 x {}; {} more while `events.jsonl` is begun anew",
               "daemon",
               "`events.jsonl.old` keeps the events of both files as above; the log keeps its latest lines",
               "control/line_writer.hpp",
               "`EventFilesOfAFlood.AnotherGuestsEventOutlivesItInMemoryAndInTheFiles`, "
               "`EventFiles.TenThousandEventsOfUsStayWithinTheirFilesAndAreFoundAgain`",
               {SIZE(LineWriter::kMostEventBytes), SIZE(LineWriter::kMostLogBytes),
                SIZE(LineWriter::kMostEventBytes)}},
              {"lines that a slow disk has not taken",
               "{}",
               "daemon",
               "dropped, counted, and said in the file",
               "control/line_writer.hpp",
               kNobody,
               {COUNT(LineWriter::kMostWaiting)}},
              {"room on the disk that logs leave to others",
               "{}, or one part in {} of a small disk",
               "file system",
               "nothing is logged until there is room",
               "base/bounded_file.hpp",
               "`BoundedFileOnAFullDisk.TheLastRoomIsLeftToOthers`, `e2e.disk_full`",
               {SIZE(BoundedFile::kLeftFreeBytes), COUNT(BoundedFile::kLeftFreeShare)}},
              {"the journal",
               "written anew when it has grown by {}; {} at most",
               "daemon",
               "a larger file is refused as none of ours",
               "journal/file_journal.hpp",
               "`FileJournalTest.IsWrittenAnewBeforeItGrowsWithoutBound`, "
               "`FileJournalTest.AFileThatIsTooLargeIsRefusedBeforeItIsRead`",
               {SIZE(journal::kGrowthBytes), SIZE(journal::kLargestBytes)}},
              {"attempts in a report of a takeover",
               "{}",
               "takeover",
               "older ones are counted",
               "core/report.hpp",
               kNobody,
               {COUNT(core::TakeoverReport::kMostAttempts)}},
          }};
}

Party loop() {
  return {"The daemon's loop",
          "One thread decides. What waits is measured and told, whoever caused it.",
          {
              {"one turn",
               "{}; {} when it waits for the journal",
               "turn",
               "the event `loop-blocked` says what it was",
               "daemon/loop_watch.hpp",
               "`loop_watch_test`",
               {TIME(daemon::LoopWatch::kMostTurn), TIME(daemon::LoopWatch::kMostJournal)}},
          }};
}

Party hooks() {
  return {"Hooks",
          "The operator's commands, set off by events that guests cause.",
          {
              {"commands that run",
               "{}",
               "daemon",
               "the next wait",
               "hooks/hook_runner.hpp",
               "`Hooks.AFewRunAtOnceOthersWaitTheRestIsDroppedAndThatIsSaidOnce`",
               {COUNT(hooks::HookRunner::kMostAtOnce)}},
              {"commands that wait",
               "{}",
               "daemon",
               "dropped; one `hooks-dropped` says so",
               "hooks/hook_runner.hpp",
               "`Hooks.AFewRunAtOnceOthersWaitTheRestIsDroppedAndThatIsSaidOnce`",
               {COUNT(hooks::HookRunner::kMostWaiting)}},
              {"what is kept of its output",
               "{}, of which the last line, {} B, is shown",
               "command",
               "the oldest goes",
               "hooks/hook_process.hpp",
               "`Hooks.NeitherFloodsNorBlocksWithItsOutput`",
               {SIZE(hooks::kKeptBytes), COUNT(hooks::kLongestLine)}},
              {"its time",
               "as configured (`limit`)",
               "command",
               "killed with its process group",
               "",
               "`Hooks.IsKilledAtItsLimitWithAllThatItStarted`",
               {}},
          }};
}

Party gateway_and_daemon() {
  return {"The gateway and its daemon, towards each other",
          "Each lives on when the other says nonsense or nothing.",
          {
              {"connections to the gateway's socket",
               "{}",
               "gateway",
               "closed",
               "gateway/limits.hpp",
               "`ControlSocketTest.OnlySoManySessionsAtOnce`",
               {COUNT(gateway::kMostSessions)}},
              {"applications with an address",
               "{}",
               "gateway",
               "refused",
               "gateway/limits.hpp",
               "`ServicesTest.OnlySoManyApplicationsHaveAnAddress`",
               {COUNT(gateway::kMostServices)}},
              {"a request and an answer",
               "{} and {}",
               "line",
               "refused, and the connection ends",
               "gateway/limits.hpp",
               "`ControlSocketTest.ALineWithoutAnEndIsRefused`, `gateway/protocol_test`, `fuzz.gateway`",
               {SIZE(gateway::kLongestRequest), SIZE(gateway::kLongestAnswer)}},
              {"a name and a time in it",
               "{} B and {} ms",
               "request",
               "refused",
               "gateway/limits.hpp",
               "`gateway/protocol_test`",
               {COUNT(gateway::kLongestAppName), COUNT(gateway::kLongestWaitMs)}},
              {"answers that a daemon does not read",
               "{}",
               "connection",
               "the connection ends",
               "gateway/limits.hpp",
               "`ControlSocketTest.WhoDoesNotReadHisAnswersIsDropped`",
               {SIZE(gateway::kMostUnsentAnswers)}},
              {"requests that a gateway does not read",
               "{}",
               "gateway",
               "the request fails, and that is said",
               "gateway/limits.hpp",
               kNobody,
               {SIZE(gateway::kMostUnsentRequests)}},
              {"a gateway's silence",
               "{}",
               "gateway",
               "it is ended and started again",
               "gateway/limits.hpp",
               "`GatewayClientTest.AGatewayThatHangsIsEndedAndStartedAgain`",
               {TIME(gateway::kPingLimit)}},
          }};
}

Party configuration() {
  return {"Who writes `understudy.toml`",
          "Trusted. The limits hold mistakes, and keep sums far from overflowing. Beyond each of them, "
          "`check` and `up` "
          "refuse the file with line and column.",
          {
              {"the file",
               "{}",
               "file",
               "refused",
               "config/limits.hpp",
               "`ConfigLimits.OfTheFile`, `fuzz.config`",
               {SIZE(config::kLargestFileBytes)}},
              {"the form of the file",
               "nesting {}, {} dots in a line, {} readings, statements of {} lines",
               "file",
               "refused",
               "config/limits.hpp",
               "`hostile_test`, `fuzz.config`",
               {COUNT(config::kDeepest), COUNT(config::kMostDots), COUNT(config::kMostPasses),
                COUNT(config::kLongestStatement)}},
              {"an `environment_file`",
               "{}",
               "application",
               "refused",
               "config/limits.hpp",
               "`environment_file_test`",
               {SIZE(config::kLargestEnvironmentFileBytes)}},
              {"errors",
               "{} of the form, {} in all, {} B each",
               "file",
               "the rest is not shown",
               "config/limits.hpp",
               "`ConfigLimits.OfErrors`, `ConfigLimits.OfOneErrorsText`",
               {COUNT(config::kMostSyntaxErrors), COUNT(config::kMostErrors), COUNT(config::kLongestError)}},
              {"how many",
               "{} guests, {} applications, {} hooks, {} areas",
               "file",
               "refused",
               "config/limits.hpp",
               "`config/limits_test`",
               {COUNT(config::kMostGuests), COUNT(config::kMostApplications), COUNT(config::kMostHooks),
                COUNT(config::kMostAreas)}},
              {"of a guest",
               "{} slots for areas, {} vCPUs",
               "guest",
               "refused",
               "config/limits.hpp",
               "`config/limits_test`",
               {COUNT(config::kMostSlots), COUNT(config::kMostVcpus)}},
              {"of an application",
               "{} vCPUs, {} arguments, {} variables, {} scratch directories, priority {}, other counts {}",
               "application",
               "refused",
               "config/limits.hpp",
               "`config/limits_test`",
               {COUNT(config::kMostApplicationVcpus), COUNT(config::kMostArguments),
                COUNT(config::kMostVariables), COUNT(config::kMostScratch), COUNT(config::kMostPriority),
                COUNT(config::kMostCounted)}},
              {"texts",
               "names {} B, arguments {} B, names of variables {} B, users {} B",
               "text",
               "refused",
               "config/limits.hpp",
               "`config/limits_test`",
               {COUNT(config::kLongestName), COUNT(config::kLongestArgument), COUNT(config::kLongestVariable),
                COUNT(config::kLongestUser)}},
              {"sizes and dumps",
               "{}, {} dumps",
               "setting",
               "refused",
               "config/limits.hpp",
               "`config/limits_test`",
               {SIZE(config::kLargestSize), COUNT(config::kMostDumps)}},
              {"the look into the image",
               "{} links in a row, {} of names, {}",
               "image",
               "given up, and said",
               "config/limits.hpp",
               kNobody,
               {COUNT(config::kMostLinks), SIZE(config::kMostListedBytes), TIME(config::kListingLimit)}},
          }};
}

}  // namespace

std::vector<Party> limits() {
  return {guest(), application(),    qemu_process(),       clients(), history(),      loop(),
          hooks(), control_socket(), gateway_and_daemon(), agent(),   configuration()};
}

std::vector<NoLimit> no_limits() {
  const char* const shown = "how much of a text is shown in a sentence";
  const char* const own = "of a file or a word that Understudy itself or the kernel writes";
  const char* const form = "a form of the system's";
  const char* const pace = "a pace, not an amount";
  return {
      {"agent/fault_policy.cpp", "kMostDoublings", pace},
      {"agent/memory_pressure.cpp", "kCrawlTimesPerSecond", pace},
      {"agent/memory_blocks.cpp", "kMaxBlocksOfAnArea", own},
      {"agent/os.hpp", "kMaxKernelFileBytes", own},
      {"agent/releaser.hpp", "kLargestPartForEnding", pace},
      {"agent/spawn.cpp", "kMostBytes", shown},
      {"agent/users.cpp", "kMaxId", form},
      {"base/units.cpp", "kMost", form},
      {"base/units.cpp", "kMostQuotedBytes", shown},
      {"base/way.cpp", "kMostLinks", form},
      {"config/document.cpp", "kMostQuotedBytes", shown},
      {"config/host_check.cpp", "kLongestSocketPath", form},
      {"config/report.cpp", "kLongestQuote", shown},
      {"control/claim.cpp", "kLongestNamed", shown},
      {"control/claim.cpp", "kMostNamed", shown},
      {"control/command.cpp", "kMostQuotedBytes", shown},
      {"config/limits.hpp", "kMostId", form},
      {"config/suggest.cpp", "kLongest", shown},
      {"core/forecast.cpp", "kMostAnswersBesides", "a check of the core against itself"},
      {"core/forecast.cpp", "kMostAnswersPerArea", "a check of the core against itself"},
      {"core/measured.hpp", "kKept", "of what Understudy itself measured"},
      {"core/moves.cpp", "kLongestAvoid", pace},
      {"core/plugging.cpp", "kMostScrubs", pace},
      {"gateway/limits.hpp", "kLongestAttempt", pace},
      {"gateway/limits.hpp", "kLongestPathPause", pace},
      {"gateway/protocol.cpp", "kMost", form},
      {"hooks/hook_process.cpp", "kMostReadsAtTheEnd", pace},
      {"pool/area_file.cpp", "kMostAttributeBytes", own},
      {"pool/pool_directory.cpp", "kMostStackedMounts", own},
      {"qemu/command_line.cpp", "kMostBelowTheHole", form},
      {"qemu/console.cpp", "kMostAnswerBytes", "follows from kConsoleBytes"},
      {"qemu/console.cpp", "kMostLineBytes", shown},
      {"qemu/guest_files.cpp", "kBacklog", "of the two sockets that a QEMU is given"},
      {"qemu/guest_files.cpp", "kMostLogLineBytes", shown},
      {"qemu/guest_files.cpp", "kMostSocketPathBytes", form},
      {"qemu/json_field.hpp", "kMostQuotedBytes", shown},
      {"qemu/monitor_reply.cpp", "kMostStatusBytes", shown},
      {"qemu/proc.cpp", "kMostNameBytes", own},
      {"qemu/proc.cpp", "kMostProcBytes", own},
      {"qemu/qmp_codec.cpp", "kMostQuotedLineBytes", shown},
      {"qemu/run_definition.cpp", "kLargestBytes", own},
      {"qemu/run_definition.cpp", "kMostPorts", own},
  };
}

}  // namespace understudy::documents
