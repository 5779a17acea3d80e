#pragma once

// Processes that run as one user may read each other's environment, memory and open files, trace each other
// and reach each other's file systems by /proc. Those in a Landlock domain can do so to nobody but themselves
// and what they start. The price: they cannot mount, not even in a namespace of their own. Signals pass.
namespace understudy::agent {

// Linux 5.19 and newer (the second version; the first refuses to rename from one directory to another), if it
// was booted with it.
[[nodiscard]] bool has_domains();
// In a forked child that still has its privileges: so no_new_privs is not needed, and setuid programs stay
// what they are. False: errno says why.
[[nodiscard]] bool enter_own_domain();

}  // namespace understudy::agent
