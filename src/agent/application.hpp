#pragma once

#include "agent/fault_policy.hpp"
#include "agent/host.hpp"
#include "agent/run.hpp"

#include <memory>
#include <optional>
#include <string>
#include <variant>

namespace understudy::agent {

// One application in this guest, from request to answer: started, watched, restarted in place, given up,
// stopped. Nothing is said to have ended before its container is empty.
class Application {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Application>> create(Host& host,
                                                                   protocol::Application definition);
  ~Application();
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  // A new daemon's idea of it; taken up at the next start.
  void redefine(protocol::Application definition) { definition_ = std::move(definition); }

  void start(const protocol::to_agent::Start& request);
  void stop(const protocol::to_agent::Stop& request);
  void grow_done(const protocol::to_agent::GrowDone& answer);
  void grow_refused(const protocol::to_agent::GrowRefused& answer);
  // A drill: to each of its processes.
  void signal_all(int signal) { container_->signal_all(signal); }

  // Memory that its limit grants, or that is engaged for it (so much), and that it has not taken: free as far
  // as the kernel knows, and nobody else's to have.
  [[nodiscard]] Bytes promised_bytes(Bytes engaged_bytes) const;
  // It is the other's rehearsal, and nothing of it runs any more.
  [[nodiscard]] bool rehearsed_for(const Application& other) const {
    const bool twin = other.definition_.rehearsal != 0 && definition_.app == other.definition_.rehearsal;
    return twin && (is<Idle>() || is<Faulted>());
  }

  [[nodiscard]] bool has(pid_t process) const;

  // Its memory and its files, all processes together.
  [[nodiscard]] Bytes memory_used() const { return container_->memory_used(); }

  // The last thing that the daemon has to know, again.
  void say_where_it_stands();
  [[nodiscard]] protocol::from_agent::AppState state() const;
  [[nodiscard]] const protocol::Application& definition() const { return definition_; }

  // The last lines that it wrote, in this life or a former one; no more than so many bytes.
  [[nodiscard]] std::string_view output(std::size_t most_bytes) const;

  // What the kernel holds for it, now or in the last seconds: the cause of a shortage may have ended with it.
  void sample_kernel_memory();
  [[nodiscard]] Bytes recent_kernel_memory() const;

  // Its container may have become empty.
  void look();
  // What it may take beside its neighbours may have changed.
  void take_bounds();

  // SIGKILL sent, and still there: reported after this, again to a daemon that was started anew, and awaited
  // further.
  static constexpr Duration kKillPatience = std::chrono::seconds(10);
  // One that failed while it served, and is still there: clients are led to it until the daemon knows.
  static constexpr Duration kEndingPatience = std::chrono::milliseconds(200);
  // No answer to wants_memory counts as a refusal.
  static constexpr Duration kMemoryPatience = std::chrono::seconds(30);

 private:
  struct Idle {};
  struct Clearing {  // what is left from before is killed, then it is started
    bool namespaces_too = false;
    Loop::Timer patience;
  };
  struct Starting {
    Loop::Timer limit;
  };
  struct Serving {};
  struct Ending {
    Fault fault;
    Loop::Timer patience;
    Loop::Timer not_ended_yet;
  };
  struct Closing {  // all of it has ended; its namespaces, with its files, are on their way
    FaultPolicy::GiveUp decision;
    Loop::Timer patience;
  };
  struct Waiting {
    protocol::from_agent::Restarting said;
    Loop::Timer delay;
  };
  struct WantingMemory {
    protocol::from_agent::WantsMemory said;
    Loop::Timer patience;
  };
  struct Stopping {
    Loop::Timer limit;
  };
  struct Faulted {
    protocol::FromAgent said;
  };
  using State = std::variant<Idle, Clearing, Starting, Serving, Ending, Closing, Waiting, WantingMemory,
                             Stopping, Faulted>;

  Application(Host& host, protocol::Application definition, std::unique_ptr<Container> container,
              std::unique_ptr<Container> checks, std::unique_ptr<Keeper> keeper);

  void begin(const protocol::to_agent::Start& request);
  void start_again(const protocol::to_agent::Start& request);  // the epoch that is known already
  void clear_and_launch(bool namespaces_too = false);
  void launch();
  void ready();
  void fault(Fault fault);
  void stalled();
  void ended();
  void act(const FaultPolicy::Decision& decision, const std::string& cause);
  void give_up(const FaultPolicy::GiveUp& decision);
  void stopping();
  void kill_to_stop();
  void stopped();
  void not_ended_yet();
  void still_there(const std::string& doing);
  // Of it or of its checks: what does not end holds memory, files and the network, whatever it was started
  // for.
  [[nodiscard]] bool anything_left() const { return container_->populated() || checks_->populated(); }
  [[nodiscard]] bool namespaces_left() const { return keeper_ && keeper_->there(); }
  void kill_everything();
  void end_namespaces();
  void close(const FaultPolicy::GiveUp& decision);
  void judge_memory(Fault& fault) const;
  void judge_processes(Fault& fault) const;
  [[nodiscard]] std::optional<Fault> port_taken() const;
  void tell_where_it_listens();
  void say(protocol::FromAgent message) { host_.send(std::move(message)); }
  void say_serving();
  template <class T>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<T>(state_);
  }
  [[nodiscard]] protocol::AppNumber app() const { return definition_.app; }

  Host& host_;
  protocol::Application definition_;
  std::unique_ptr<Container> container_;
  std::unique_ptr<Container> checks_;  // of its exec health checks
  std::unique_ptr<Keeper> keeper_;     // null: it is where everybody is
  protocol::Epoch epoch_ = 0;
  Bytes memory_limit_bytes_ = 0;
  std::vector<protocol::AreaNumber> areas_;
  bool has_served_ = false;  // in this epoch
  std::optional<FaultPolicy> policy_;
  OutOfMemory out_of_memory_before_;
  std::uint64_t refused_processes_before_ = 0;
  struct KernelMemory {
    Bytes bytes = 0;
    Time at{};
    [[nodiscard]] bool recent() const { return Loop::now() - at < std::chrono::seconds(10); }
  } kernel_memory_;                                        // the most of the last seconds
  std::optional<protocol::from_agent::StopFailed> stuck_;  // said, and still so
  OutputTail output_{protocol::kMaxTailBytes};
  std::unique_ptr<Run> run_;
  State state_;
};

}  // namespace understudy::agent
