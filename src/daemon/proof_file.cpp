#include "daemon/proof_file.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <fstream>

#include <system_error>

namespace understudy::daemon {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::system_clock;

namespace {

constexpr const char* kNone = "-";

// FNV-1a: the same in every build and on every machine.
class Hash {
 public:
  void add(const std::string& text) {
    for (const char c : text) mix(static_cast<unsigned char>(c));
    mix(0x100);  // no byte: "a", "b" is not "ab"
  }
  [[nodiscard]] std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  void mix(std::uint64_t with) { value_ = (value_ ^ with) * 0x100000001b3ULL; }
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

}  // namespace

std::string definition_stamp(const config::Application& application) {
  Hash hash;
  for (const std::string& word : application.start) hash.add(word);
  hash.add("");
  for (const auto& [name, value] : application.environment) {
    hash.add(name);
    hash.add(value);
  }
  hash.add(application.user);
  hash.add(fmt::format("{} {} {} {}", application.memory_bytes, application.ready_notify,
                       static_cast<int>(application.health.kind), application.health.port));
  for (const std::string& word : application.health.command) hash.add(word);
  return hash.text();
}

// One line for each, words between blanks: milliseconds since the epoch, attach or start, microseconds that
// it took, bytes, the two stamps, the guest, the application. Names have no blanks in them.
Result<void> write_proofs(const fs::path& file, const std::vector<ProofRow>& rows) {
  const fs::path fresh = file.string() + ".new";
  std::ofstream out(fresh, std::ios::trunc);
  for (const ProofRow& row : rows) {
    out << std::chrono::duration_cast<milliseconds>(row.at.time_since_epoch()).count() << ' '
        << (row.start ? "start" : "attach") << ' ' << row.took.count() << ' ' << row.bytes << ' '
        << row.definition << ' ' << (row.image.empty() ? kNone : row.image) << ' ' << row.guest << ' '
        << row.app << '\n';
  }
  out.close();
  std::error_code error;
  if (out) fs::rename(fresh, file, error);
  if (!out || error) return failure("cannot write " + file.string());
  return {};
}

std::vector<ProofRow> read_proofs(const fs::path& file) {
  std::vector<ProofRow> rows;
  std::ifstream in(file);
  milliseconds::rep at_ms = 0;
  Duration::rep took_us = 0;
  std::string what;
  ProofRow row;
  while (in >> at_ms >> what >> took_us >> row.bytes >> row.definition >> row.image >> row.guest >> row.app) {
    if (what != "start" && what != "attach") break;
    row.at = system_clock::time_point(milliseconds(at_ms));
    row.start = what == "start";
    row.took = Duration(took_us);
    if (row.image == kNone) row.image.clear();
    rows.push_back(row);
  }
  return rows;
}

}  // namespace understudy::daemon
