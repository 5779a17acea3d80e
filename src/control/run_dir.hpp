#pragma once

#include "base/error.hpp"

#include <filesystem>

namespace understudy::control {

// The run directory: --run-dir, else $UNDERSTUDY_RUN_DIR, else /run/understudy as root, else
// $XDG_RUNTIME_DIR/understudy. Absolute. An error says how to name one.
[[nodiscard]] Result<std::filesystem::path> run_dir(const std::string& option);

// What stands in it.
struct RunFiles {
  std::filesystem::path dir;
  [[nodiscard]] std::filesystem::path control_socket() const { return dir / "control.sock"; }
  [[nodiscard]] std::filesystem::path gateway_socket() const { return dir / "gateway.sock"; }
  [[nodiscard]] std::filesystem::path journal() const { return dir / "journal"; }
  [[nodiscard]] std::filesystem::path events() const { return dir / "events.jsonl"; }
  [[nodiscard]] std::filesystem::path maintenance() const { return dir / "maintenance"; }
  [[nodiscard]] std::filesystem::path proofs() const { return dir / "proofs"; }
  [[nodiscard]] std::filesystem::path reports() const { return dir / "reports"; }
  [[nodiscard]] std::filesystem::path lock() const { return dir / "lock"; }
  [[nodiscard]] std::filesystem::path daemon_pid() const { return dir / "understudyd.pid"; }
  [[nodiscard]] std::filesystem::path daemon_log() const { return dir / "understudyd.log"; }
  [[nodiscard]] std::filesystem::path gateway_log() const { return dir / "gateway.log"; }
};

}  // namespace understudy::control
