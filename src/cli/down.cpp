#include "cli/cli.hpp"
#include "control/client.hpp"

#include <fmt/format.h>

namespace understudy::cli {

namespace {

namespace json = boost::json;

// Connects, asks, and hands the answer on.
template <class Show>
int ask(const control::Command& command, const Options& options, Show show) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  auto client = control::Client::connect(control::RunFiles{*dir}.control_socket());
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

}  // namespace

int down(const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const control::RunFiles files{*dir};
  if (auto client = control::Client::connect(files.control_socket())) {
    const auto answer = client->ask(control::command::Down{});
    if (!answer) return complain(answer.error().message);
    client->wait_for_end();
  }
  // What a daemon that died left behind; nothing, after an orderly end.
  std::error_code error;
  if (!std::filesystem::exists(*dir, error)) {
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
  auto client = control::Client::connect(control::RunFiles{*dir}.control_socket());
  if (!client) return complain(client.error().message);
  const Result<void> done = client->events(follow, [&](const json::object& event) {
    if (options.json) {
      fmt::print("{}\n", json::serialize(event));
      std::fflush(stdout);
    } else {
      print_event(event);
    }
    return true;
  });
  return done ? kDone : complain(done.error().message);
}

}  // namespace understudy::cli
