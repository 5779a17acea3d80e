#include "daemon/daemon.hpp"

#include "base/cgroup.hpp"
#include "base/inherited_state.hpp"
#include "config/changes.hpp"
#include "config/guest_users.hpp"
#include "control/claim.hpp"
#include "daemon/clean_up.hpp"
#include "link/definitions.hpp"
#include "qemu/accelerator.hpp"
#include "qemu/host_tsc.hpp"
#include "qemu/proc.hpp"
#include "qemu/run_definition.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <utility>

namespace understudy::daemon {

namespace {

constexpr std::uint32_t kNobody = 0xFFFFFFFF;  // no process is this user's

constexpr Duration kLogLimit = std::chrono::seconds(2);
constexpr Duration kUpkeepEach = std::chrono::seconds(5);
constexpr Duration kBlockedEach = std::chrono::seconds(10);

// Without a journal, a start that fails removes everything of ours in the run directory again: so nothing
// that lives may be there.
Result<void> check_nothing_lives(const std::filesystem::path& run_dir) {
  const auto living = qemu::find_processes(run_dir);
  if (living.empty()) return {};
  return failure("guest " + living.front().marker.guest + " of " + run_dir.string() + " still runs (pid " +
                 std::to_string(living.front().pid) +
                 "), but the journal is gone; end what is left with `understudy down`");
}

std::string joined(const config::Errors& errors) {
  std::string text;
  for (const std::string& error : errors) text += (text.empty() ? "" : "\n") + error;
  return text;
}

}  // namespace

Daemon::Daemon(Options options, config::Config config)
    : options_(std::move(options)),
      config_(std::move(config)),
      setup_(core::with_rehearsals(config_.setup())),
      files_{options_.run_dir} {}

Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::create(const Options& options) {
  if (const auto claimed = control::claim(options.run_dir); !claimed) return tl::unexpected(claimed.error());
  auto lock = lock_run_dir(options.run_dir);
  if (!lock) return tl::unexpected(lock.error());
  // A directory with a journal may have guests that live, and is never cleared on an error.
  std::error_code error;
  const bool resumes = std::filesystem::exists(control::RunFiles{options.run_dir}.journal(), error);
  if (!resumes) {
    if (Result<void> nobody = check_nothing_lives(options.run_dir); !nobody)
      return tl::unexpected(nobody.error());
  }
  auto made = make(options);
  if (made) (*made)->lock_ = std::move(*lock);
  if (made || resumes) return made;
  const Result<void> removed = daemon::remove_all(options.run_dir);
  return failure(made.error().message + (removed ? "" : "\n" + removed.error().message));
}

Result<std::unique_ptr<Daemon>> Daemon::make(const Options& options) {
  const auto source = config::read_source(options.config, options.config_dir);
  auto config = source ? config::load(*source) : tl::unexpected(source.error());
  if (!config) return failure(joined(config.error()));
  std::unique_ptr<Daemon> daemon(new Daemon(options, std::move(*config)));
  if (Result<void> prepared = daemon->prepare(); !prepared) return tl::unexpected(prepared.error());
  return daemon;
}

Result<void> Daemon::prepare() {
  log_ = std::make_unique<control::EventLog>(setup_, files_.events(), files_.reports(), files_.daemon_log());
  hooks_ = std::make_unique<hooks::HookRunner>(
      loop_, config_.hooks, options_.run_dir,
      [this](const core::Notice& notice) { log_->notice(clock_->now(), notice); });
  log_->follow([this](const std::string& line) {
    hooks_->event(line);
    return true;
  });
  clock_ = std::make_unique<AsioClock>(loop_, sink());
  divide_own_cgroup();  // before there is memory that is charged, or a process
  if (auto done = open_journal(); !done) return done;
  if (auto done = open_pool(); !done) return done;
  if (auto done = open_hypervisor(); !done) return done;
  if (auto done = open_gateway(); !done) return done;
  engine_ = std::make_unique<engine::Engine>(
      *core_, engine::Ports{*clock_, *journal_, *gateway_, *hypervisor_, *links_, *pool_, *log_});
  engine_->after_step = [this] {
    log_->tell_held_back(clock_->now());
    tell_unreserved();
    remember_proofs();
    finish_if_down();
  };
  auto server = control::Server::create(loop_, files_.control_socket(), *log_,
                                        [this](const control::Command& command) { return handle(command); });
  if (!server) return tl::unexpected(server.error());
  server_ = std::move(*server);
  std::ofstream(files_.daemon_pid()) << ::getpid() << '\n';
  return {};
}

Result<void> Daemon::open_journal() {
  auto journal = journal::FileJournal::open(files_.journal(), core::names_of(setup_));
  if (!journal) return tl::unexpected(journal.error());
  journal_ = std::move(*journal);
  if (auto fits = go_on_with_what_is_left(); !fits) return fits;
  core_ = std::make_unique<core::Core>(setup_);
  return core_->restore(journal_->rows());
}

// Whenever it begins.
void Daemon::tell_unreserved() {
  const bool was = std::exchange(unreserved_, !journal_->unreserved().empty());
  if (was || !unreserved_) return;
  log_->notice(clock_->now(),
               {core::Severity::warning,
                "journal-unreserved",
                "the room that the journal needs next could not be reserved on the disk (" +
                    journal_->unreserved() + "): if the disk fills up, nothing is moved any more",
                {},
                {}});
}

// A former daemon's guests, areas and applications, under a configuration that may have been changed since.
Result<void> Daemon::go_on_with_what_is_left() {
  if (journal_->rows().empty() && journal_->gone().empty()) return {};
  config::Left left{journal_->former(), journal_->gone(), {}, {}};
  if (const auto pool = pool::remembered(options_.run_dir)) left.pool = pool->pool;
  for (const qemu::FoundProcess& found : qemu::find_processes(options_.run_dir)) {
    const auto definition = qemu::definition_of_process(found);
    left.base_bytes[found.marker.guest] = definition.plan.base_bytes;
  }
  const config::Errors errors = config::what_stands_in_the_way(config_, left);
  if (!errors.empty()) return failure(joined(errors));
  config_.pool.made_areas = left.names.areas;
  setup_ = core::with_rehearsals(config_.setup());
  return {};
}

void Daemon::divide_own_cgroup() {
  cgroups_ = delegated_cgroup();
  if (!cgroups_) return;
  if (auto divided = divide_cgroup(*cgroups_); !divided)
    cgroups_ = failure("the control group that was delegated cannot be divided: " + divided.error().message);
}

Result<void> Daemon::open_pool() {
  const auto exists = pool::AreaPool::exists(options_.run_dir);
  if (!exists) return tl::unexpected(exists.error());
  // An area file that a former daemon did not finish making has never been in a guest.
  const bool reopen = *exists && !journal_->rows().empty();
  if (*exists && !reopen) {
    if (auto removed = pool::AreaPool::remove(options_.run_dir); !removed) return removed;
  }
  auto pool =
      reopen ? pool::AreaPool::reopen(config_.pool, options_.run_dir, setup_.pool.area_count, loop_, sink())
             : pool::AreaPool::create(config_.pool, options_.run_dir, setup_.pool.area_count, loop_, sink());
  if (!pool) return tl::unexpected(pool.error());
  pool_ = std::move(*pool);
  pool_->on_repair([this](core::AreaId area, const pool::AreaFile::Repair& repair) {
    log_->notice(clock_->now(),
                 {repair.done ? core::Severity::warning : core::Severity::error,
                  "area-repaired",
                  "area " + std::to_string(area.value) +
                      " is not as it was given to its guest's QEMU: " + pool::repair_text(repair),
                  {},
                  {}});
  });
  return {};
}

std::vector<std::uint32_t> Daemon::uids_of_guests(const config::GuestUids& uids) const {
  std::map<std::string, std::uint32_t> living;
  for (const qemu::FoundProcess& found : qemu::find_processes(options_.run_dir)) {
    if (const auto ids = qemu::ids_of(found.pid)) living[found.marker.guest] = ids->uid;
  }
  std::vector<std::string> names;
  for (const config::Guest& guest : config_.guests) names.push_back(guest.name);
  return config::assign_uids(uids, names, living);
}

Result<void> Daemon::open_hypervisor() {
  auto qemu = qemu::find_qemu();
  if (!qemu) return tl::unexpected(qemu.error());
  qemu::QemuHypervisor::Settings settings;
  settings.run_dir = options_.run_dir;
  settings.guests = qemu::guest_plans(config_);
  for (std::uint32_t id = 0; id < settings.guests.size(); ++id) {
    // Too long a line is found by the links, which say what to do.
    settings.guests[id].told = link::told_line(config_, {id});
  }
  for (const core::AppSetup& app : setup_.apps) settings.apps.push_back(app.name);
  settings.dumps = config_.dumps;
  auto wish = config_.host.accelerator;
  if (options_.accelerator == "kvm") wish = config::Accelerator::kvm;
  if (options_.accelerator == "tcg") wish = config::Accelerator::tcg;
  const auto uids = config::guest_uids(config_, options_.run_dir);
  const std::vector<std::uint32_t> assigned = uids ? uids_of_guests(*uids) : std::vector<std::uint32_t>{};
  std::optional<qemu::HostUser> trial;
  if (uids) {
    const std::uint32_t last = std::max(uids->last(), *std::max_element(assigned.begin(), assigned.end()));
    if (auto ok = qemu::check_no_strangers(options_.run_dir, uids->first, last); !ok) return ok;
    trial = qemu::HostUser{uids->trial(), uids->trial(), {}};
  }
  const bool resumes = !journal_->rows().empty();
  const auto former = resumes ? qemu::former_accelerator(options_.run_dir, settings.guests) : std::nullopt;
  const auto choice = qemu::choose_accelerator(*qemu, wish, settings.guests.front().image, options_.run_dir,
                                               qemu::kTrialLimit, qemu::kKvmDevice, trial, former);
  if (!choice) return tl::unexpected(choice.error());
  for (std::uint32_t id = 0; uids && id < settings.guests.size(); ++id) {
    const std::uint32_t uid = assigned[id];
    settings.guests[id].user = qemu::HostUser{uid, uid, choice->groups};
  }
  users_ = uids ? fmt::format("as the uids {} to {}", *std::min_element(assigned.begin(), assigned.end()),
                              *std::max_element(assigned.begin(), assigned.end()))
                : fmt::format("as uid {}, the daemon's own", ::geteuid());
  accelerator_ = choice->name();
  accelerator_reason_ = choice->reason;
  qemu->accelerator = choice->accelerator;
  if (choice->accelerator == qemu::Accelerator::tcg) qemu->tsc_khz = qemu::host_tsc_khz();
  settings.qemu = *qemu;
  settings.cgroups = cgroups_.value_or("");

  auto hypervisor = qemu::QemuHypervisor::create(loop_, std::move(settings), *pool_, sink());
  if (!hypervisor) return tl::unexpected(hypervisor.error());
  hypervisor_ = std::move(*hypervisor);
  auto links = link::AgentLinks::create(
      loop_, config_, sink(),
      {.prepared = [this](core::GuestRun run,
                          const protocol::from_agent::Prepared& heard) { note(run, heard); },
       .tail =
           [this](core::GuestRun run, const protocol::from_agent::Tail& heard) {
             const auto asked = outputs_.find(core::AppId{heard.app});
             if (asked == outputs_.end()) return;
             const auto guest = asked->second.guests.find(run.guest);
             if (guest != asked->second.guests.end()) guest->second = heard.text;
           },
       .log =
           [this](core::GuestRun run, const std::string& text) {
             log_->notice(clock_->now(), {core::Severity::info,
                                          "agent-says",
                                          setup_.guest(run.guest).name + ": " + text,
                                          run.guest,
                                          {}});
           }});
  if (!links) return tl::unexpected(links.error());
  links_ = std::move(*links);
  hypervisor_->set_listener({.available =
                                 [this](core::GuestRun run) {
                                   const auto socket = hypervisor_->agent_socket(run);
                                   const auto* started = hypervisor_->definition(run);
                                   if (!socket || started == nullptr) return;
                                   const qemu::GuestPlan& plan = started->plan;
                                   links_->open(run, *socket, {plan.base_bytes, plan.told, plan.app_ports});
                                 },
                             .gone = [this](core::GuestRun run) { links_->close(run); }});
  return {};
}

// Its first start there will be quick, or is going to take longer than it need.
void Daemon::note(core::GuestRun run, const protocol::from_agent::Prepared& heard) {
  const core::AppId app{heard.app};
  const bool has_command = app.value < config_.applications.size() &&  // else the twin of one
                           !config_.applications[app.value].prepare.empty();
  if (!has_command) return;
  const std::string where = setup_.app(app).name + " on " + setup_.guest(run.guest).name;
  if (heard.why_not.empty()) {
    const std::string text = "prepared " + where + " within " + std::to_string(heard.duration_ms) + " ms";
    return log_->notice(clock_->now(), {core::Severity::info, "prepared", text, run.guest, app});
  }
  const std::string text =
      "could not prepare " + where + ": " + heard.why_not +
      "; a takeover works all the same, but may take longer: see prepare in the configuration";
  log_->notice(clock_->now(), {core::Severity::warning, "prepare-failed", text, run.guest, app});
}

Result<void> Daemon::open_gateway() {
  auto port_of = [this](core::AppId app, core::GuestRun run) -> std::optional<std::uint16_t> {
    return hypervisor_->forwarded_port(run, setup_.app(app).name);
  };
  auto gateway = gateway::GatewayClient::start(
      loop_, config_, options_.run_dir, port_of, sink(),
      {.problem =
           [this](const std::string& text) {
             log_->notice(clock_->now(), {core::Severity::warning, "gateway", text, {}, {}});
           },
       .upstream_process = [this](core::GuestRun run) -> gateway::GatewayClient::Process {
         const pid_t pid = hypervisor_->pid(run);
         const auto ids = qemu::ids_of(pid);
         if (!ids) return {std::nullopt, kNobody};
         return {pid, ids->uid};
       }});
  if (!gateway) return tl::unexpected(gateway.error());
  gateway_ = std::move(*gateway);
  hypervisor_->set_own_network(gateway_->enters_networks());
  if (!gateway_->enters_networks()) {
    log_->notice(clock_->now(),
                 {core::Severity::warning,
                  "gateway",
                  "the gateway is of an earlier release, which went on while this one was installed: guests "
                  "that are launched now share the host's network; `understudy down` and `up` end that",
                  {},
                  {}});
  }
  return {};
}

engine::EventSink Daemon::sink() {
  return [this](core::Event event) {
    // A release needs to know where the areas are that a former daemon plugged.
    if (const auto* adopted = std::get_if<core::event::GuestAdopted>(&event)) {
      links_->remember_areas(adopted->run, adopted->areas);
    }
    engine_->deliver(event);
  };
}

void Daemon::watch_signals() {
  const auto say = [this](core::Notice notice) { log_->notice(clock_->now(), notice); };
  signals_ = std::make_unique<gateway::SignalWatch>(
      loop_, "understudyd",
      gateway::SignalWatch::Handlers{
          .end =
              [this, say](int number) {
                say({core::Severity::info,
                     "daemon-leaves",
                     "understudyd ends, by " + signal_name(number) +
                         "; guests and applications go on, the next `understudy up` resumes",
                     {},
                     {}});
                loop_.stop();
              },
          .without_meaning =
              [say](const std::string& text) {
                say({core::Severity::info, "daemon-signal", text, {}, {}});
              }});
}

void Daemon::cut_back_logs_now_and_then() {
  upkeep_timer_.expires_after(kUpkeepEach);
  upkeep_timer_.async_wait([this](auto error) {
    if (error) return;
    background_.run([run_dir = options_.run_dir] { cut_back_logs(run_dir); });
    cut_back_logs_now_and_then();
  });
}

void Daemon::tell_blocked(const LoopWatch::Blocked& blocked) {
  const Time now = clock_->now();
  if (blocked_told_ && now - *blocked_told_ < kBlockedEach) {
    ++blocked_since_told_;
    return;
  }
  blocked_told_ = now;
  const std::uint64_t more = std::exchange(blocked_since_told_, 0);
  std::string text = fmt::format(
      "the loop that watches the guests was held up for {:.0f} ms by {}; a failure in that time was seen so "
      "much later ({:.0f} ms is the most that it may take, {:.0f} ms for the journal)",
      to_ms(blocked.lasted), blocked.what, to_ms(LoopWatch::kMostTurn), to_ms(LoopWatch::kMostJournal));
  if (more != 0) text += fmt::format(", and {} times more since it was last said", more);
  log_->notice(now, {core::Severity::warning, "loop-blocked", text, {}, {}});
}

void Daemon::finish_if_down() {
  if (going_down_ && core_->is_down()) loop_.stop();
}

int Daemon::run() {
  watch_signals();
  cut_back_logs_now_and_then();
  log_->notice(clock_->now(),
               {core::Severity::info,
                "daemon-started",
                fmt::format("understudyd runs guests under {} ({}), {}; {}; {}", accelerator_,
                            accelerator_reason_, users_, pool_->description(), cgroup_words(cgroups_)),
                {},
                {}});
  for (const std::string& remark : options_.remarks) {
    log_->notice(clock_->now(),
                 {core::Severity::warning, "daemon-started", "understudyd: " + remark, {}, {}});
  }
  tell_unreserved();
  if (!journal_->rows().empty()) engine_->deliver(core::event::Resume{});
  resume_proofs();
  resume_maintenance();  // before the loop tells of anything that has failed
  engine_->deliver(core::event::BringUp{});
  {
    const LoopWatch watch([this](const LoopWatch::Blocked& blocked) {
      boost::asio::post(loop_, [this, blocked] { tell_blocked(blocked); });
    });
    loop_.run();
  }
  if (!going_down_ || !core_->is_down()) return 0;
  background_.flush(kLogLimit);
  log_->flush(kLogLimit);
  const Result<void> removed = daemon::remove_all(options_.run_dir);
  if (!removed) fmt::print(stderr, "{}\n", removed.error().message);
  return removed ? 0 : 1;
}

}  // namespace understudy::daemon
