#pragma once

#include "agent/children.hpp"
#include "agent/container.hpp"
#include "protocol/messages.hpp"

#include <functional>
#include <memory>
#include <string>

namespace understudy::agent {

// What an application needs of the agent around it.
struct Host {
  Loop& loop;
  Children& children;
  std::function<Result<std::unique_ptr<Container>>(const std::string& name)> make_container;
  std::function<void(protocol::FromAgent)> send;
  // Of an area that has been engaged; 0 when it is not known.
  std::function<Bytes(protocol::AreaNumber)> area_bytes;
  std::string run_directory;  // exists; notify sockets go there
  std::string passwd_file = "/etc/passwd";
};

}  // namespace understudy::agent
