#pragma once

#include "agent/children.hpp"
#include "agent/container.hpp"
#include "agent/keeper.hpp"
#include "protocol/messages.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace understudy::agent {

// The guest's kernel has killed an application because its own memory ran out.
struct Shortage {
  std::string text;  // who held most of it, and what helps
  bool somebody_elses = false;
};

// Of an application: what it starts, or a command that helps it (a health check, what prepares).
enum class Part { itself, helper };

// What an application needs of the agent around it.
struct Host {
  Loop& loop;
  Children& children;
  std::function<Result<std::unique_ptr<Container>>(const std::string& name)> make_container;
  std::function<void(protocol::FromAgent)> send;
  // Of an area that has been engaged; 0 when it is not known.
  std::function<Bytes(protocol::AreaNumber)> area_bytes;
  std::string run_directory;  // exists; for notify sockets of applications without files of their own
  std::string passwd_file = "/etc/passwd";
  // What an application that may use so much memory has of the guest to itself.
  std::function<Namespaces(const protocol::Application& of, Bytes memory_limit_bytes)> namespaces = {};
  // How many processes one user may have; 0: as many as the agent's.
  std::function<std::uint64_t()> processes = {};
  // Keeps a container of this application from taking what its neighbours in the guest need.
  std::function<void(Container& container, const protocol::Application& of, Part part)> bound = {};
  // Whether what it runs as this user has to be kept from reading its neighbours, which run as that user,
  // too.
  std::function<bool(const protocol::Application& of, const User& user)> own_domain = {};
  // For the application of this name.
  std::function<Shortage(const std::string& name)> shortage = {};
  // The name of the application that this process is of; empty: of none.
  std::function<std::string(pid_t)> owner = {};
};

}  // namespace understudy::agent
