#pragma once

#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <cstddef>
#include <string_view>
#include <vector>

// Descriptors that go beside bytes through a unix socket (SCM_RIGHTS). Neither call waits; the answers are
// those of sendmsg() and recvmsg(), with errno.
namespace understudy {

// The descriptor goes with the first byte: when any were taken, it has gone.
[[nodiscard]] ssize_t send_with_descriptor(int socket, std::string_view text, int descriptor);

// Descriptors that came are added to `descriptors`; the ones beyond eight at a time are lost.
[[nodiscard]] ssize_t receive_with_descriptors(int socket, char* into, std::size_t size,
                                               std::vector<UniqueFd>& descriptors);

}  // namespace understudy
