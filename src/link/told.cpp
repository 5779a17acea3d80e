#include "link/told.hpp"

#include "link/definitions.hpp"
#include "protocol/codec.hpp"

#include <string>

namespace understudy::link {

config::Errors check_told(const config::Config& config) {
  config::Errors errors;
  for (std::uint32_t id = 0; id < config.guests.size(); ++id) {
    const config::Guest& guest = config.guests[id];
    const auto line = protocol::encode(welcome_for(config, {{id}, 1}));
    if (line) continue;
    errors.push_back(
        config.file.string() + ":" + std::to_string(guest.at.line) + ":" + std::to_string(guest.at.column) +
        ": guest \"" + guest.name + "\" cannot be told of its applications (" + line.error().message +
        "); give them fewer or shorter arguments and environment variables: put them into a script or a "
        "file of the image");
  }
  return errors;
}

}  // namespace understudy::link
