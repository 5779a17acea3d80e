#include "daemon/maintenance_file.hpp"

#include <fstream>

#include <system_error>

namespace understudy::daemon {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::system_clock;

// One line for each: milliseconds since the epoch, a blank, the name.
Result<void> write_maintenance(const fs::path& file, const std::vector<MaintenanceRow>& rows) {
  const fs::path fresh = file.string() + ".new";
  std::ofstream out(fresh, std::ios::trunc);
  for (const MaintenanceRow& row : rows) {
    out << std::chrono::duration_cast<milliseconds>(row.until.time_since_epoch()).count() << ' ' << row.name
        << '\n';
  }
  out.close();
  std::error_code error;
  if (out) fs::rename(fresh, file, error);
  if (!out || error) return failure("cannot write " + file.string());
  return {};
}

std::vector<MaintenanceRow> read_maintenance(const fs::path& file) {
  std::vector<MaintenanceRow> rows;
  std::ifstream in(file);
  milliseconds::rep until_ms = 0;
  for (std::string name; in >> until_ms >> name;)
    rows.push_back({name, system_clock::time_point(milliseconds(until_ms))});
  return rows;
}

}  // namespace understudy::daemon
