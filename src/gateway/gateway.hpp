#pragma once

#include <filesystem>

namespace understudy::gateway {

struct GatewayOptions {
  std::filesystem::path control_socket;  // unix socket; its directory exists
};

// The process that holds the applications' addresses (`understudyd --gateway SOCKET`). It is no part of the
// daemon, so that clients' connections live on when the daemon ends, dies or is upgraded. Serves until `quit`
// on the control socket or SIGTERM, and returns the exit status. Writes "ready" and a line break to standard
// output once the control socket answers, or "error: ..." when it cannot; standard output is not used after
// that.
int run_gateway(const GatewayOptions& options);

}  // namespace understudy::gateway
