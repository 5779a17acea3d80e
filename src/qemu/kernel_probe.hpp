#pragma once

#include "base/process_network.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>

namespace understudy::qemu {

struct KernelAnswer {
  bool answered = false;
  std::string text;  // "the kernel answered a packet in 0.8 ms", "no answer from the kernel within 200 ms"
};

// Asks a guest's kernel, and not any program in it, whether it lives: connects to a port of `network`, its
// QEMU's, that is forwarded to a port on which nothing listens in the guest. QEMU accepts the connection at
// once and passes it on; a living kernel refuses it, and QEMU closes it. With a dead one it stays open.
// `done` is called once, within the limit, from the loop.
void probe_kernel(boost::asio::io_context& loop, const ProcessNetwork& network, std::uint16_t host_port,
                  Duration limit, std::function<void(KernelAnswer)> done);

}  // namespace understudy::qemu
