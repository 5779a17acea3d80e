#include "control/run_dir.hpp"

#include <unistd.h>

#include <cstdlib>

namespace understudy::control {

Result<std::filesystem::path> run_dir(const std::string& option) {
  if (!option.empty()) return std::filesystem::absolute(option).lexically_normal();
  if (const char* named = std::getenv("UNDERSTUDY_RUN_DIR"); named != nullptr && *named != '\0') {
    return std::filesystem::absolute(named).lexically_normal();
  }
  if (::geteuid() == 0) return std::filesystem::path("/run/understudy");
  if (const char* user = std::getenv("XDG_RUNTIME_DIR"); user != nullptr && *user != '\0') {
    return std::filesystem::path(user) / "understudy";
  }
  return failure(
      "no run directory: $XDG_RUNTIME_DIR is not set; name one with --run-dir DIR or UNDERSTUDY_RUN_DIR");
}

}  // namespace understudy::control
