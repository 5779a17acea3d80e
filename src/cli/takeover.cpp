// `understudy takeover`: asks for a planned switchover, and tells how it ended.
#include "cli/cli.hpp"
#include "control/client.hpp"
#include "control/event_log.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::cli {

namespace {

namespace json = boost::json;

struct Standing {
  std::string state;
  std::string active;
  std::string trouble;
  std::uint64_t epoch = 0;
};

Result<Standing> standing_of(const std::filesystem::path& socket, const std::string& app,
                             const Options& options) {
  auto client = control::Client::connect(socket, options.waiting());
  const auto status = client ? client->ask(control::command::Status{}) : tl::unexpected(client.error());
  if (!status) return tl::unexpected(status.error());
  const auto text = [](const json::value& value) {
    return value.is_string() ? std::string(value.get_string()) : std::string();
  };
  for (const json::value& value : status->as_object().at("applications").as_array()) {
    const json::object& each = value.as_object();
    if (text(each.at("name")) != app) continue;
    return Standing{text(each.at("state")), text(each.at("active")), text(each.at("trouble")),
                    each.at("epoch").to_number<std::uint64_t>()};
  }
  return Standing{};  // the daemon says by itself that there is none
}

// Follows one switchover to its end.
class Watch {
 public:
  Watch(std::filesystem::path socket, std::string app, Standing before, const Options& options)
      : socket_(std::move(socket)), app_(std::move(app)), before_(std::move(before)), options_(options) {}

  // Whether to go on watching.
  bool look(bool quiet) {
    const auto now = standing_of(socket_, app_, options_);
    if (!now) {
      trouble_ = now.error().message;
      return false;
    }
    if (now->state == "serving" && now->epoch != before_.epoch) {
      ended_on_ = now->active;
      return false;
    }
    if (now->state == "failed" || now->state == "stopped") {
      trouble_ = fmt::format("{} is {}: {}", app_, now->state, now->trouble);
      return false;
    }
    if (now->state == "serving" && left_) {  // it stays where it was
      ended_on_ = now->active;
      return false;
    }
    if (quiet && now->state == "waiting") {
      trouble_ =
          fmt::format("{} {}; understudyd goes on trying, see `understudy status`", app_, now->trouble);
      return false;
    }
    left_ |= now->state != "serving";
    return true;
  }
  // It may last until somebody orders otherwise.
  bool give_up(const std::string& why) {
    trouble_ = why;
    return false;
  }
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] const std::optional<std::string>& ended_on() const { return ended_on_; }

 private:
  std::filesystem::path socket_;
  std::string app_;
  Standing before_;
  const Options& options_;
  bool left_ = false;
  std::string trouble_;
  std::optional<std::string> ended_on_;
};

}  // namespace

int takeover(const control::command::Takeover& command, bool waits, const Options& options) {
  const std::string& app = command.app;
  if (!waits) return order(command, options);
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const auto socket = control::RunFiles{*dir}.control_socket();
  const std::string since = control::wall_clock();
  const auto before = standing_of(socket, app, options);
  if (!before) return complain(before.error().message);
  auto client = control::Client::connect(socket, options.waiting());
  const auto answer = client ? client->ask(command) : tl::unexpected(client.error());
  if (!answer) return complain(answer.error().message);
  if (!options.json && answer->is_string()) {
    fmt::print("  {}\n", std::string_view(answer->get_string()));
    std::fflush(stdout);
  }
  Watch watch(socket, app, *before, options);
  auto events = control::Client::connect(socket, options.waiting());
  if (!events) return complain(events.error().message);
  // Only events of this application can end it, and only those of after the order.
  const auto end = events->events(
      true,
      [&](const json::object& event) {
        const json::value* of = event.if_contains("application");
        const bool matters = of != nullptr && of->is_string() && of->get_string() == app &&
                             std::string_view(event.at("time").as_string()) >= since;
        if (matters && text(event, "kind") == "stop-overdue") return watch.give_up(text(event, "text"));
        return !matters || watch.look(false);
      },
      [&] { return watch.look(true); });
  if (!end) return complain(end.error().message);
  if (*end == control::Client::End::daemon_ended)
    return complain("understudyd ended before the takeover did; `understudy up -f FILE` resumes it");
  if (!watch.trouble().empty()) return complain(watch.trouble());
  const bool moved = watch.ended_on() && *watch.ended_on() != before->active;
  if (const int shown = report(app, options); shown != kDone || moved) return shown;
  return complain(fmt::format("{} serves on {} as before; see `understudy events`", app, before->active));
}

}  // namespace understudy::cli
