// Every command: its words, and what it calls. Used by main alone.
#pragma once

#include "cli/cli.hpp"

#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace understudy::cli {

// What the words of a command line said.
struct Arguments {
  cli::Options options;
  std::string file = "understudy.toml";
  std::string accelerator = "auto";
  std::string app;
  std::string to;
  std::string target;
  std::string kind;
  std::string lasts;
  std::string timeout;
  bool ends = false;
  bool fence = false;
  bool starts = false;
  bool detach = false;
  bool no_wait = false;
  bool follow = false;
};

class Commands final {
 public:
  // Adds all commands to `app`. Both, and `arguments`, must outlive this.
  Commands(CLI::App& app, Arguments& arguments);

  // Performs the command that was parsed; returns its exit status.
  [[nodiscard]] int run() const;

 private:
  struct Command {
    CLI::App* words;
    std::function<int()> perform;
  };

  CLI::App* add(const char* name, const char* about, std::function<int()> perform);
  void add_application(CLI::App* command);
  void add_file(CLI::App* command);
  void add_json(CLI::App* command);
  void add_whole_system();
  void add_looking();
  void add_orders();
  void add_drills();

  CLI::App& app_;
  Arguments& a_;
  std::vector<Command> commands_;
};

}  // namespace understudy::cli
