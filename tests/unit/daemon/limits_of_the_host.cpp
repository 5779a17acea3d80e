// What everybody else can use up: clients, operators, and Understudy itself.
#include "base/bounded_file.hpp"
#include "base/descriptors.hpp"
#include "config/limits.hpp"
#include "control/command.hpp"
#include "control/event_log.hpp"
#include "control/line_writer.hpp"
#include "control/server.hpp"
#include "core/report.hpp"
#include "daemon/loop_watch.hpp"
#include "gateway/limits.hpp"
#include "hooks/hook_process.hpp"
#include "hooks/hook_runner.hpp"
#include "journal/file_journal.hpp"
#include "limit_figures.hpp"

namespace understudy::documents {

namespace {

using control::EventLog;
using control::LineWriter;
using control::Server;

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
               kNobodyYet,
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
               kNobodyYet,
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
               kNobodyYet,
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
               kNobodyYet,
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
               kNobodyYet,
               {COUNT(config::kMostLinks), SIZE(config::kMostListedBytes), TIME(config::kListingLimit)}},
          }};
}

}  // namespace

std::vector<Party> limits_of_the_host() {
  return {clients(), history(), loop(), hooks(), control_socket(), gateway_and_daemon(), configuration()};
}

}  // namespace understudy::documents
