#pragma once

#include "base/units.hpp"

#include <string>
#include <vector>

// The table of docs/limits.md: the words stand in limits_of_guests.cpp and limits_of_the_host.cpp, the
// figures come from the sources' headers.
namespace understudy::documents {

// A constant of the sources: its name as it is written there, and its value as a person reads it.
struct Figure {
  std::string name;
  std::string text;
};

struct Limit {
  std::string what;
  std::string figures;  // {}: the next of `constants`; here, then in `beyond`
  std::string each;     // for each of what
  std::string beyond;   // what happens then
  std::string file;     // in src, where the constants are; empty: a setting or a rule
  std::string tried;    // names of tests (tried_by.hpp), or kNobodyYet
  std::vector<Figure> constants;
};

struct Party {
  std::string title;
  std::string text;
  std::vector<Limit> limits;
};

[[nodiscard]] std::vector<Party> limits_of_guests();
[[nodiscard]] std::vector<Party> limits_of_the_host();
[[nodiscard]] std::vector<Party> limits();  // of both

// Constants whose name sounds like a limit, and that are none of a party's: file, name, why (no_limits.cpp).
struct NoLimit {
  std::string file;
  std::string name;
  std::string why;
};
[[nodiscard]] std::vector<NoLimit> no_limits();

}  // namespace understudy::documents
