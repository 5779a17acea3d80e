#pragma once

#include "config/document.hpp"

#include <array>
#include <string>
#include <utility>
#include <vector>

// A file as far as it could be read, with the places that the checks across tables point at. A flag that ends
// in _good says that the values it names were read and may be calculated with; the others have their message
// already.
namespace understudy::config {

// A file that the configuration names.
struct NamedFile {
  std::filesystem::path path;  // empty: not given, or not usable
  Where at;                    // {0, 0}: not given
};
struct ImageDraft {
  NamedFile kernel;
  NamedFile initramfs;
  NamedFile disk;
  Where at;  // {0, 0}: no such table
};

struct GuestDraft {
  Guest guest;
  ImageDraft image;
  Where at;
  Where name_at;
  Where base_at;
  Where slots_at;
  Where crash_dump_at;
  bool name_good = false;
  bool sizes_good = false;
};

struct ApplicationDraft {
  Application application;
  NamedFile environment_file;
  std::vector<std::pair<std::string, Where>> guests;
  Where at;
  Where name_at;
  Where memory_at;
  Where minimum_at;
  Where maximum_at;
  Where hot_standby_at;
  Where vcpus_at;  // the table, when the key is not there
  Where guest_port_at;
  Where first_at;
  bool name_good = false;
  bool sizes_good = false;
  bool guests_good = false;  // every entry is a text; whether there is such a guest is checked later
  bool listen_good = false;
  bool guest_port_good = false;
};

struct Draft {
  Host host;
  Qemu qemu;
  Pool pool;
  Where area_at;
  bool pool_good = false;
  ImageDraft image;
  std::vector<GuestDraft> guests;
  std::vector<ApplicationDraft> applications;
  Dumps dumps;
  std::vector<Hook> hooks;
  bool damaged = false;
};

// schema.cpp: the file's tables into a draft; reports types, missing and unknown keys, values out of range.
[[nodiscard]] Draft read_draft(const Document& document, const std::filesystem::path& directory,
                               Report& report);
// schema_application.cpp: one [[application]].
[[nodiscard]] ApplicationDraft read_application(const Value& value, Report& report, bool damaged);

// schema_hook.cpp: one [[hook]].
[[nodiscard]] Hook read_hook(const Value& value, Report& report, bool damaged);

// checks.cpp: what holds between tables: names, roles, addresses. Resolves the applications' guests to ids.
void check_relations(Draft& draft, Report& report);
// checks_memory.cpp: the budget, the standbys' base memory, the slots. Fills in the slots that the file
// leaves out.
void check_memory(Draft& draft, Report& report);
// guest_users.cpp: the uids of [qemu] belong to nobody.
void check_first_uid(const Draft& draft, Report& report);
// schema_application.cpp: letters, digits and _, not beginning with a digit.
[[nodiscard]] bool usable_variable(std::string_view name);
// environment_file.cpp: adds what stands in the applications' environment files.
void read_environment_files(Draft& draft, Report& report);
// checks.cpp: a guest's dump fits into what is kept of dumps.
void check_dumps(const Draft& draft, Report& report);
// checks.cpp: the images exist, can be read, and are of their kind.
void check_images(const Draft& draft, Report& report);

}  // namespace understudy::config
