#pragma once

#include "base/unique_fd.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace understudy::gateway {

// Sockets that are bound to addresses, by these. A gateway that ends leaves its addresses to nobody else,
// because the daemon has copies of its sockets: the next gateway is started with them and goes on accepting
// where the former one stopped. Clients that come in between wait in the kernel.
class KeptListeners {
 public:
  // What the starter of this process gave it, see spawn.hpp; whatever else it has inherited is left alone.
  [[nodiscard]] static KeptListeners inherited();

  // In the place of one for the same address. What is no TCP socket with an address is closed.
  void keep(UniqueFd socket);
  // None: there is no socket for it. The text is that of an endpoint, "[::1]:6379".
  [[nodiscard]] UniqueFd take(const std::string& address);
  void clear() { sockets_.clear(); }
  [[nodiscard]] std::vector<int> descriptors() const;  // in the order of their addresses

 private:
  std::map<std::string, UniqueFd> sockets_;
};

// How many there are, for a gateway: they are its descriptors from 3 on.
inline constexpr const char* kListenersVariable = "UNDERSTUDY_LISTENERS";
inline constexpr int kFirstListener = 3;

}  // namespace understudy::gateway
