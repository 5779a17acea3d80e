// What a guest can use up, and what is in it.
#include "agent/container.hpp"
#include "agent/engager.hpp"
#include "agent/inheritance.hpp"
#include "agent/notify_socket.hpp"
#include "agent/output_tail.hpp"
#include "agent/own_files.hpp"
#include "agent/port.hpp"
#include "agent/releaser.hpp"
#include "control/event_budget.hpp"
#include "core/limits.hpp"
#include "daemon/clean_up.hpp"
#include "limit_figures.hpp"
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
#include "qemu/qemu_cgroup.hpp"
#include "qemu/qmp_codec.hpp"
#include "qemu/spawn.hpp"

namespace understudy::documents {

namespace {

using control::EventBudget;
using link::AgentLinks;

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
               kNobodyYet,
               {COUNT(agent::kMostDescriptors)}},
              {"cgroups that it makes below its own",
               "{}, {} deep",
               "application",
               "what is beyond is not looked at when its processes are listed; the kernel's `cgroup.kill` "
               "reaches it all the same",
               "agent/container.hpp",
               kNobodyYet,
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
              {"memory of the host",
               "{} and {} for each vCPU, its base memory twice and a dump's headers, one part in {} of all "
               "that its guest can "
               "have, and of an area what did not exist when it was given",
               "QEMU with a control group of its own",
               "the kernel ends it, and the end of its guest says why",
               "qemu/qemu_cgroup.hpp",
               "`e2e.cgroups`, `MemoryOfAQemu.HasRoomForAllThatItsGuestCanHave`",
               {SIZE(qemu::kMostOverhead), SIZE(qemu::kMostOverheadOfVcpu), COUNT(qemu::kTablesDivisor)}},
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
               "QEMU with a user or a control group of its own",
               "it cannot make more",
               "qemu/spawn.hpp",
               "`UsersTest.AQemuIsItsUserAndHasNothingElse`, `e2e.cgroups`",
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

Party agent() {
  return {"The daemon, towards an agent",
          "What comes down the line costs an agent, which lives in the base memory, no more than this.",
          {
              {"requests to take areas in that wait",
               "{}",
               "guest",
               "refused",
               "agent/engager.hpp",
               "`Memory.OnlySoManyRequestsToTakeAreasInWaitAtOnce`",
               {COUNT(agent::Engager::kMostPending)}},
              {"requests to let areas go that wait",
               "{}",
               "guest",
               "refused",
               "agent/releaser.hpp",
               "`Release.OnlySoManyRequestsToLetAreasGoWaitAtOnce`",
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

}  // namespace

std::vector<Party> limits_of_guests() {
  return {guest(), application(), qemu_process(), agent()};
}

}  // namespace understudy::documents
