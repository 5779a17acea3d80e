#pragma once

namespace understudy {

// Of the whole project, as its CMakeLists.txt has it: "0.1.0".
[[nodiscard]] const char* version();

}  // namespace understudy
