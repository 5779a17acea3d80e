#include "base/units.hpp"

#include "base/check.hpp"
#include "base/shown.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace understudy {

void check_failed(const char* text, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: invariant violated: %s\n", file, line, text);
  std::fflush(stderr);
  std::abort();
}

namespace {

constexpr std::size_t kMostQuotedBytes = 40;

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 5> kSizes{
    {{"TiB", 1ULL << 40}, {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}}};
// In microseconds, the resolution of Duration.
constexpr std::array<Unit, 5> kDurations{
    {{"h", 3'600'000'000ULL}, {"min", 60'000'000ULL}, {"s", 1'000'000ULL}, {"ms", 1'000ULL}, {"us", 1}}};

std::string list(const std::array<Unit, 5>& units) {
  std::string names;
  for (auto unit = units.rbegin(); unit != units.rend(); ++unit) {
    if (!names.empty()) names += ", ";
    names += unit->name;
  }
  return names;
}

Result<std::uint64_t> parse(std::string_view text, const std::array<Unit, 5>& units, std::string_view noun,
                            std::string_view example) {
  auto bad = [&](std::string_view what) {
    return failure("\"" + shown(text, kMostQuotedBytes) + "\" is not a " + std::string(noun) + ": " +
                   std::string(what) + "; write a whole number and a unit (" + list(units) + "), such as \"" +
                   std::string(example) + "\"");
  };
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code == std::errc::result_out_of_range) return bad("the number is too large");
  if (code != std::errc()) return bad("it does not start with a number");
  std::string_view unit_text(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!unit_text.empty() && unit_text.front() == ' ') unit_text.remove_prefix(1);
  if (unit_text.empty()) return bad("the unit is missing");
  for (const Unit& unit : units) {
    if (unit.name != unit_text) continue;
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (number > kMost / unit.factor) return bad("the number is too large");
    return number * unit.factor;
  }
  return bad("the unit \"" + shown(unit_text, kMostQuotedBytes) + "\" is unknown");
}

}  // namespace

Result<Bytes> parse_size(std::string_view text) {
  return parse(text, kSizes, "size", "512 MiB");
}

Result<Duration> parse_duration(std::string_view text) {
  auto micros = parse(text, kDurations, "duration", "200 ms");
  if (!micros) return tl::unexpected(micros.error());
  return Duration(static_cast<Duration::rep>(*micros));
}

std::string format_size(Bytes bytes) {
  if (bytes == 0) return "0 B";
  // An amount that is a whole number of a unit is written in it, as long as the number stays readable.
  for (const Unit& unit : kSizes) {
    if (bytes % unit.factor == 0 && bytes / unit.factor < 10'000) {
      return std::to_string(bytes / unit.factor) + " " + std::string(unit.name);
    }
  }
  std::array<char, 48> out{};
  std::snprintf(out.data(), out.size(), "%.1f MiB", static_cast<double>(bytes) / static_cast<double>(1_MiB));
  return out.data();
}

std::string format_duration(Duration duration) {
  const auto micros = duration.count();
  for (const Unit& unit : kDurations) {
    const auto factor = static_cast<Duration::rep>(unit.factor);
    if (micros != 0 && micros % factor == 0) {
      return std::to_string(micros / factor) + " " + std::string(unit.name);
    }
  }
  return "0 ms";
}

std::string readable_duration(Duration duration) {
  using namespace std::chrono;
  const double s = duration_cast<std::chrono::duration<double>>(duration).count();
  char text[32];
  if (s < 0.9995) {
    std::snprintf(text, sizeof text, "%.0f ms", s * 1000);
  } else if (s < 120) {
    std::snprintf(text, sizeof text, "%.1f s", s);
  } else if (s < 7200) {
    std::snprintf(text, sizeof text, "%.0f min", s / 60);
  } else {
    std::snprintf(text, sizeof text, "%.0f h", s / 3600);
  }
  return text;
}

std::uint64_t whole_ms(Duration duration) {
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

}  // namespace understudy
