#pragma once

#include "engine/ports.hpp"
#include "journal/format.hpp"
#include "sim/checkers.hpp"
#include "sim/describe.hpp"
#include "sim/world.hpp"

#include <array>
#include <map>
#include <string>

// The simulated ports that are too small for a file each.
namespace understudy::sim {

class SimClock final : public engine::Clock {
 public:
  SimClock(World& world, std::function<void()> tick) : world_(world), tick_(std::move(tick)) {}

  [[nodiscard]] Time now() const override { return world_.now() + world_.clock_ahead; }

  // Deadlines move with every beat. One entry in the timeline is kept; it looks again when its time has come.
  void wake_at(Time at) override {
    wanted_ = at;
    jumped();
  }
  // What is waited for may be due earlier now.
  void jumped() {
    if (wanted_ && (!scheduled_ || *scheduled_ > *wanted_ - world_.clock_ahead)) schedule();
  }
  // The daemon that waited is gone, and what is in the timeline wakes nobody any more.
  void forget() {
    wanted_.reset();
    scheduled_.reset();
  }

 private:
  void schedule() {
    const Time at = std::max(*wanted_ - world_.clock_ahead, world_.now() + std::chrono::microseconds(1));
    scheduled_ = at;
    world_.timeline.at(at, [this, at, life = world_.daemon] {
      if (life != world_.daemon) return;
      if (scheduled_ == at) scheduled_.reset();
      if (!wanted_) return;
      if (*wanted_ > now()) {
        if (!scheduled_) schedule();
        return;
      }
      wanted_.reset();
      tick_();
    });
  }

  World& world_;
  std::function<void()> tick_;
  std::optional<Time> wanted_;     // by the daemon's clock
  std::optional<Time> scheduled_;  // in the timeline
};

// The journal on its medium, with the death of the daemon in the middle of an append and after it.
class SimJournal final : public engine::Journal {
 public:
  SimJournal(World& world, Checkers& checkers, MemoryJournal& medium)
      : world_(world), checkers_(checkers), medium_(medium) {}

  [[nodiscard]] Result<void> append(std::span<const core::Record> records) override {
    if (world_.dies_next()) tear(records);
    world_.kill_point();
    if (world_.trace) {
      for (const core::Record& record : records) {
        world_.say(std::string("  journal") + (medium_.refusing ? " refuses: " : ": ") +
                   describe(world_.setup(), record));
      }
    }
    Result<void> done = medium_.append(records);
    world_.kill_point();
    return done;
  }

 private:
  // The file as it is shipped, with some of the line that was being written: what the next daemon reads of
  // it.
  void tear(std::span<const core::Record> records) {
    if (medium_.written() == 0) return;
    const core::Names names = core::names_of(world_.setup());
    const std::string header = journal::header_line(names);
    const std::string rows = journal::record_line(medium_.records());
    const std::string line = journal::record_line(records);
    const auto replayed =
        journal::replay(header + rows + line.substr(0, world_.random.below(line.size())), names);
    if (!replayed) return checkers_.violated("a torn journal is refused: " + replayed.error().message);
    medium_.become(replayed->records);
    if (journal::record_line(medium_.records()) != rows)
      checkers_.violated("a torn journal is not what was written before");
  }

  World& world_;
  Checkers& checkers_;
  MemoryJournal& medium_;
};

class SimGate final : public engine::AddressGate {
 public:
  SimGate(World& world, Checkers& checkers) : world_(world), checkers_(checkers) {}

  void withdraw(core::AppId app) override {
    world_.kill_point();
    ++requests_[app];
    world_.routes[app.value].reset();
  }
  void route(core::AppId app, core::GuestRun run) override {
    world_.kill_point();
    checkers_.routing(app, run);
    const std::uint64_t request = ++requests_[app];
    if (!world_.random.chance(world_.shape.odds.unreachable)) return lead(app, run);
    world_.post(world_.takes(world_.shape.timing.route),
                core::event::AddressUnreachable{app, run, "nothing listens at the guest's address"});
    world_.timeline.after(world_.random.within(kUnreachable),
                          [this, app, run, request, life = world_.daemon] {
                            if (life == world_.daemon && world_.daemon_up && requests_[app] == request)
                              lead(app, run);
                          });
  }

 private:
  static constexpr Span kUnreachable{std::chrono::milliseconds(10), std::chrono::seconds(5)};

  void lead(core::AppId app, core::GuestRun run) {
    world_.routes[app.value] = run;
    const Time at = channel_.arrival(world_.now() + world_.takes(world_.shape.timing.route));
    world_.post(at - world_.now(), core::event::AddressRouted{app, run});
  }

  std::map<core::AppId, std::uint64_t> requests_;  // a later one overtakes what an earlier one is waiting for
  World& world_;
  Checkers& checkers_;
  Channel channel_;
};

class SimPool final : public engine::Pool {
 public:
  SimPool(World& world, Checkers& checkers) : world_(world), checkers_(checkers) {}

  void scrub(core::AreaId area) override {
    world_.kill_point();
    checkers_.scrubbing(area);
    world_.area(area).half_zeroed = true;
    world_.timeline.after(world_.takes(world_.shape.timing.scrub), [this, area, life = world_.daemon] {
      if (life != world_.daemon) return;
      if (world_.host_refuses() || world_.random.chance(world_.shape.odds.scrub_fails)) {
        world_.post({}, core::event::ScrubFailed{area, "input/output error"});
        return;
      }
      world_.area(area).contents.clear();
      world_.area(area).half_zeroed = false;
      world_.post({}, core::event::AreaScrubbed{area});
    });
  }

 private:
  World& world_;
  Checkers& checkers_;
};

class SimObserver final : public engine::Observer {
 public:
  SimObserver(World& world, Checkers& checkers) : world_(world), checkers_(checkers) {}

  void notice(Time, const core::Notice& notice) override {
    if (world_.trace) world_.say("  [" + notice.kind + "] " + notice.text);
    if (notice.kind == "rehearsal-passed") ++rehearsals_passed;
    if (notice.kind == "rehearsal-failed") ++rehearsals_failed;
  }
  void report(Time, const core::TakeoverReport& report) override {
    checkers_.reported(report);
    if (report.result != "serving" || !report.to) return;
    ++(report.from ? takeovers : first_starts);
    last = report;
  }

  std::uint64_t takeovers = 0;
  std::uint64_t first_starts = 0;
  std::uint64_t rehearsals_passed = 0;
  std::uint64_t rehearsals_failed = 0;
  std::optional<core::TakeoverReport> last;

 private:
  World& world_;
  Checkers& checkers_;
};

}  // namespace understudy::sim
