#pragma once

#include "base/time.hpp"
#include "base/units.hpp"
#include "limits_table.hpp"
#include "tried_by.hpp"

#include <string>

// A figure with its name, so that no other can stand in its place.
#define COUNT(constant)                                                   \
  Figure {                                                                \
#constant, std::to_string(static_cast <unsigned long long>(constant)) \
  }
#define SIZE(constant)                                    \
  Figure {                                                \
#constant, format_size(static_cast <Bytes>(constant)) \
  }
#define TIME(constant)                             \
  Figure {                                         \
#constant, format_duration(Duration(constant)) \
  }
