#include "config/suggest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace understudy::config {

namespace {

constexpr std::size_t kLongest = 40;  // longer ones are no misspellings of ours

// Letters to insert, remove, replace or swap with their neighbour.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(above.begin(), above.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

bool is_part_of(std::string_view part, std::string_view whole) {
  return part.size() >= 4 && whole.find(part) != std::string_view::npos;
}

}  // namespace

std::string did_you_mean(std::string_view text, const std::vector<std::string_view>& candidates) {
  if (text.empty() || text.size() > kLongest) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, text.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t found = distance(text, candidate);
    if (found < best_distance) {
      best = candidate;
      best_distance = found;
    }
  }
  for (auto it = candidates.begin(); best.empty() && it != candidates.end(); ++it) {
    if (is_part_of(text, *it) || is_part_of(*it, text)) best = *it;
  }
  return best.empty() ? std::string() : fmt::format("; did you mean {}?", best);
}

}  // namespace understudy::config
