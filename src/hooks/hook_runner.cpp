#include "hooks/hook_runner.hpp"

#include "core/notice_kinds.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/json.hpp>

namespace understudy::hooks {

namespace {

namespace json = boost::json;

bool is_on(const config::Hook& hook, std::string_view kind) {
  return std::any_of(hook.on.begin(), hook.on.end(),
                     [&](const std::string& on) { return on == "*" || on == kind; });
}

// The daemon's own environment, and where to ask it.
std::vector<std::string> common_environment(const std::filesystem::path& run_dir) {
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("UNDERSTUDY_")) environment.emplace_back(*entry);
  }
  if (std::getenv("PATH") == nullptr)
    environment.emplace_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  environment.push_back("UNDERSTUDY_RUN_DIR=" + run_dir.string());
  return environment;
}

// A word of an event as a variable. Parts of texts come from guests: no byte of them ends the variable or
// moves the cursor of whoever prints it. The JSON on standard input has them as they are.
std::string variable(const char* name, const json::object& event, std::string_view key) {
  std::string text = std::string(name) + "=";
  const json::value* value = event.if_contains(key);
  if (value == nullptr) return text;
  std::string word;
  if (value->is_string()) {
    word = std::string_view(value->get_string());
  } else {
    word = json::serialize(*value);
  }
  for (char& c : word) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return text + word;
}

void add_variables(std::vector<std::string>& environment, const json::object& event) {
  constexpr std::array<std::pair<const char*, const char*>, 7> kVariables{
      {{"UNDERSTUDY_EVENT", "kind"},
       {"UNDERSTUDY_SEVERITY", "severity"},
       {"UNDERSTUDY_TEXT", "text"},
       {"UNDERSTUDY_GUEST", "guest"},
       {"UNDERSTUDY_APPLICATION", "application"},
       {"UNDERSTUDY_TIME", "time"},
       {"UNDERSTUDY_NUMBER", "number"}}};
  for (const auto& [name, key] : kVariables) environment.push_back(variable(name, event, key));
}

}  // namespace

HookRunner::HookRunner(boost::asio::io_context& loop, std::vector<config::Hook> hooks,
                       const std::filesystem::path& run_dir, Tell tell)
    : loop_(loop),
      hooks_(std::move(hooks)),
      environment_(common_environment(run_dir)),
      tell_(std::move(tell)) {}

HookRunner::~HookRunner() {
  *alive_ = false;
}

void HookRunner::event(std::string_view line) {
  if (hooks_.empty()) return;
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) return;
  const json::object& event = value.get_object();
  const json::value* kind_value = event.if_contains("kind");
  if (kind_value == nullptr || !kind_value->is_string()) return;
  const std::string_view kind = kind_value->get_string();
  if (core::is_about_hooks(kind)) return;
  for (const config::Hook& hook : hooks_) {
    if (!is_on(hook, kind)) continue;
    if (waiting_.size() >= kMostWaiting) {
      dropping_ = true;
      continue;
    }
    Job job{"hook " + hook.command.front() + " on " + std::string(kind),
            {hook.command, environment_, std::string(line) + "\n", hook.limit}};
    add_variables(job.command.environment, event);
    waiting_.push_back(std::move(job));
  }
  wake();
}

void HookRunner::wake() {
  if (waiting_.empty() || std::exchange(woken_, true)) return;
  boost::asio::post(loop_, [this, alive = alive_] {
    if (*alive) pump();
  });
}

// One start for each turn of the loop: a burst of events never keeps it from a guest's.
void HookRunner::pump() {
  woken_ = false;
  if (dropping_ && !std::exchange(told_, true)) {
    tell_({core::Severity::warning,
           "hooks-dropped",
           "more than " + std::to_string(kMostWaiting) +
               " hooks wait for their turn; further ones are dropped until there is room: let them be "
               "quicker, or on "
               "fewer events",
           {},
           {}});
  }
  if (!waiting_.empty() && running_.size() < kMostAtOnce) {
    const Job job = std::move(waiting_.front());
    waiting_.pop_front();
    begin(job);
  }
  if (waiting_.empty()) dropping_ = told_ = false;
  if (running_.size() < kMostAtOnce) wake();
}

void HookRunner::begin(const Job& job) {
  const std::uint64_t number = next_++;
  auto started = HookProcess::start(
      loop_, job.command,
      [this, number, what = job.what](const std::string& failure) { finished(number, what, failure); });
  if (!started) return failed(job.what, started.error().message);
  running_.emplace(number, std::move(*started));
}

void HookRunner::finished(std::uint64_t number, const std::string& what, const std::string& failure) {
  running_.erase(number);
  wake();
  if (!failure.empty()) failed(what, failure);
}

void HookRunner::failed(const std::string& what, const std::string& why) const {
  tell_({core::Severity::warning, "hook-failed", what + " failed: " + why, {}, {}});
}

}  // namespace understudy::hooks
