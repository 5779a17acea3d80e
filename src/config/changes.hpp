#pragma once

#include "config/config.hpp"
#include "core/names.hpp"
#include "core/records.hpp"

#include <map>
#include <string>
#include <vector>

// What a former daemon left, held against a configuration that was changed since. Most changes are no
// trouble: who is still there is known by its name, in whatever order the file has it; what is new has
// nothing yet; what a guest was started with stays true of it. The rest is refused before anything is
// touched.
namespace understudy::config {

struct Left {
  core::Names names;                        // of the configuration that it was left under
  std::vector<core::Record> gone;           // the rows of what is no more, under those names
  std::map<std::string, Bytes> base_bytes;  // of guests whose virtual machine lives, by their names
  // What the pool was made of; none: it is not there, or nobody wrote it down.
  std::optional<Pool> pool;
};

// Why the configuration cannot be gone on with, each "FILE:LINE:COLUMN: what, and the way out". Empty: it
// can.
[[nodiscard]] Errors what_stands_in_the_way(const Config& config, const Left& left);

}  // namespace understudy::config
