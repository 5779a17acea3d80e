#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

// What QEMU's monitor (QMP) says: one JSON object per line. QEMU is trusted less than this daemon, since a
// guest may have broken into it: everything here is bounded and checked.
namespace understudy::qemu {

struct QmpGreeting {
  std::string version;  // "7.2.22 (Debian ...)"
};
struct QmpReturn {
  std::uint64_t id = 0;
  boost::json::value value;
};
struct QmpErrorReply {
  std::optional<std::uint64_t> id;  // none: QEMU could not even read the command
  std::string error_class;          // "GenericError", "DeviceNotFound", ...; fit to be shown
  std::string description;          // fit to be shown
};
struct QmpEvent {
  std::string name;  // "GUEST_PANICKED"
  boost::json::object data;
};
using QmpMessage = std::variant<QmpGreeting, QmpReturn, QmpErrorReply, QmpEvent>;

// Cuts a byte stream into messages, whatever pieces it comes in.
class QmpCodec final {
 public:
  // QEMU's longest answer to what we ask is some 60 KiB (256 memory devices).
  static constexpr std::size_t kMaxLineBytes = 1 << 20;
  static constexpr std::size_t kMaxNesting = 32;
  // Of the texts of an error; what is longer is cut, and what is not printable replaced.
  static constexpr std::size_t kMostErrorClassBytes = 64;
  static constexpr std::size_t kMostErrorBytes = 1024;

  // Appends the messages that `bytes` completes. An error (a line too long, no JSON, no message of QMP) ends
  // the stream: what follows cannot be trusted, and every later call fails with the same text.
  [[nodiscard]] Result<void> feed(std::string_view bytes, std::vector<QmpMessage>& messages);

  // Bytes of a line whose end has not come. Not 0 at the end of a stream: it was cut off inside a message.
  [[nodiscard]] std::size_t pending_bytes() const { return line_.size(); }

 private:
  std::string line_;
  std::string broken_;
};

// A command as it goes over the socket, with its line end.
[[nodiscard]] std::string qmp_command(std::uint64_t id, std::string_view command,
                                      const boost::json::object& arguments);

}  // namespace understudy::qemu
