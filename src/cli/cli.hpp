#pragma once

#include "base/error.hpp"
#include "config/config.hpp"
#include "control/client.hpp"
#include "control/command.hpp"
#include "control/run_dir.hpp"

#include <filesystem>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace understudy::cli {

// Exit statuses that scripts rely on.
inline constexpr int kDone = 0;
inline constexpr int kCouldNot = 1;
inline constexpr int kWrongUsage = 2;

struct Options {
  std::string run_dir;
  bool json = false;
  Duration answer_limit = control::kAnswerLimit;

  [[nodiscard]] control::Waiting waiting() const { return {answer_limit, -1}; }
};

// What nobody may learn from a takeover.
inline constexpr const char* kStateIsLost =
    "a takeover, a planned one too, starts an application anew: what it had in memory or in files is lost";

// "understudy: TEXT" on standard error; returns kCouldNot.
int complain(const std::string& text);

int check(const std::string& file, const Options& options);
int up(const std::string& file, bool detach, const std::string& accelerator, const Options& options);
int down(const Options& options);
int status(const Options& options);
int table(const Options& options);
int report(const std::string& app, const Options& options);
int events(bool follow, const Options& options);
// Asks for a rehearsal, shows how it goes, and waits for its end; kCouldNot when it did not pass.
int rehearse(const std::string& app, bool start, const Options& options);
// The last lines that an application printed, in each guest that may run it.
int logs(const std::string& app, const Options& options);
// Moves an application to its standby, and waits for how that ends (or not, with `waits` false).
int takeover(const control::command::Takeover& command, bool waits, const Options& options);
// Commands that are answered by a sentence: takeover, fault, start.
int order(const control::Command& command, const Options& options);

// The string under this key of a document; empty: there is none.
std::string text(const boost::json::object& object, std::string_view key);

// show.cpp: the documents of json_views for a person.
void print_status(const boost::json::object& status);
void print_table(const boost::json::object& table);
void print_report(const boost::json::object& report);
// One application's "rehearsal" and "proven".
void print_rehearsal(const boost::json::object& application);
void print_event(const boost::json::object& event);

// spawn.cpp
[[nodiscard]] Result<std::filesystem::path> find_daemon();
// Starts understudyd, detached, its output into the run directory's log. Returns when it says that it
// listens; what it says instead is the error.
[[nodiscard]] Result<void> start_daemon(const config::Source& config, const std::filesystem::path& run_dir,
                                        const std::string& accelerator);
// Removes what a daemon that died left in the run directory; returns understudyd's exit status.
[[nodiscard]] Result<int> clean_up(const std::filesystem::path& run_dir);

}  // namespace understudy::cli
