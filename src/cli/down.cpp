#include "cli/cli.hpp"
#include "control/claim.hpp"
#include "control/client.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace understudy::cli {

namespace {

namespace json = boost::json;

constexpr Duration kSayEvery = std::chrono::seconds(10);  // of an end that lasts

// Connects, asks, and hands the answer on.
template <class Show>
int ask(const control::Command& command, const Options& options, Show show) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  auto client = control::Client::connect(control::RunFiles{*dir}.control_socket(), options.waiting());
  if (!client) return complain(client.error().message);
  const auto answer = client->ask(command);
  if (!answer) return complain(answer.error().message);
  if (options.json) {
    fmt::print("{}\n", json::serialize(*answer));
  } else {
    show(*answer);
  }
  return kDone;
}

// "alpha ready, redis serving": what has not ended yet. An error when nobody answers any more.
Result<std::string> what_is_left(const std::filesystem::path& socket, const Options& options) {
  auto client = control::Client::connect(socket, options.waiting());
  const auto status = client ? client->ask(control::command::Status{}) : tl::unexpected(client.error());
  if (!status) return tl::unexpected(status.error());
  std::string left;
  for (const char* kind : {"applications", "guests"}) {
    for (const json::value& value : status->as_object().at(kind).as_array()) {
      const json::object& each = value.as_object();
      const std::string_view state = each.at("state").as_string();
      if (state == "stopped" || state == "failed" || state == "off") continue;
      left += fmt::format("{}{} is {}", left.empty() ? "" : ", ",
                          std::string_view(each.at("name").as_string()), state);
    }
  }
  return left;
}

// Until the daemon has ended what it runs, and itself. How long that takes is up to the applications; a
// daemon that no longer answers meanwhile is said to be so.
Result<void> wait_for_end(control::Client& client, const std::filesystem::path& socket,
                          const Options& options) {
  while (!client.wait_for_end(kSayEvery)) {
    const auto left = what_is_left(socket, options);
    if (left && !left->empty()) {
      fmt::print("  still going down: {}\n", *left);
      std::fflush(stdout);
    }
    if (!left && !client.wait_for_end(std::chrono::seconds(1))) return tl::unexpected(left.error());
  }
  return {};
}

// Mistyped, most likely: what was meant runs on, and "nothing is left" would be false.
int nothing_of_ours(const std::filesystem::path& dir, const std::string& why) {
  const std::string where = control::where_it_is(dir);
  return complain("nothing of Understudy's was found: " + why + "; nothing was touched" +
                  (where.empty() ? "" : ". " + where));
}

}  // namespace

int down(const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const control::RunFiles files{*dir};
  bool was_there = false;
  if (control::Client::listens(files.control_socket())) {
    auto client = control::Client::connect(files.control_socket(), options.waiting());
    const auto answer = client ? client->ask(control::command::Down{}) : tl::unexpected(client.error());
    if (!answer) return complain(answer.error().message);
    if (const auto ended = wait_for_end(*client, files.control_socket(), options); !ended)
      return complain(ended.error().message);
    was_there = true;
  } else if (const std::string elsewhere = control::who_serves_elsewhere(*dir); !elsewhere.empty()) {
    return complain(elsewhere);
  }
  // What a daemon that died left behind; nothing, after an orderly end.
  if (const Result<void> ours = control::check_claimed(*dir); !ours) {
    if (!was_there) return nothing_of_ours(*dir, ours.error().message);
    fmt::print("  down: nothing of {} is left\n", dir->string());
    return kDone;
  }
  const auto cleaned = clean_up(*dir);
  if (!cleaned) return complain(cleaned.error().message);
  if (*cleaned == 0) fmt::print("  down: nothing of {} is left\n", dir->string());
  return *cleaned == 0 ? kDone : kCouldNot;
}

int status(const Options& options) {
  return ask(control::command::Status{}, options, [](const json::value& v) { print_status(v.as_object()); });
}

int table(const Options& options) {
  return ask(control::command::Table{}, options, [](const json::value& v) { print_table(v.as_object()); });
}

int report(const std::string& app, const Options& options) {
  return ask(control::command::Report{app}, options,
             [](const json::value& v) { print_report(v.as_object()); });
}

int order(const control::Command& command, const Options& options) {
  return ask(command, options, [](const json::value& v) {
    if (v.is_string()) fmt::print("  {}\n", std::string(v.get_string()));
  });
}

int events(bool follow, const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const auto socket = control::RunFiles{*dir}.control_socket();
  auto client = control::Client::connect(socket, options.waiting());
  if (!client) return complain(client.error().message);
  bool told = false;
  // Whoever follows a daemon that is stopped would wait in silence for what it cannot say.
  const auto silent = [&] {
    const auto left = what_is_left(socket, options);
    if (!left && !told) complain(left.error().message);
    told = !left.has_value();
    return true;
  };
  const auto end = client->events(
      follow,
      [&](const json::object& event) {
        told = false;
        if (options.json) {
          fmt::print("{}\n", json::serialize(event));
          std::fflush(stdout);
        } else {
          print_event(event);
        }
        return true;
      },
      silent);
  if (!end) return complain(end.error().message);
  if (*end != control::Client::End::daemon_ended) return kDone;
  return complain("understudyd ended, and with it its events");
}

}  // namespace understudy::cli
