#pragma once

namespace understudy {

// Moves this process, which has one thread, into a new network that has a loopback and nothing else. Root
// makes the network alone; anybody else a user namespace with it, in which his user and group have the same
// numbers and nobody else is known. Supplementary groups go on to count for files. Nothing but system calls:
// for a forked child.
//
// False: errno says why, and this process may be in a network without a loopback or in a user namespace
// without users. It can only end.
[[nodiscard]] bool take_own_network();

}  // namespace understudy
