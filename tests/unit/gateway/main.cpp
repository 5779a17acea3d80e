#include "gateway/gateway.hpp"

#include <gtest/gtest.h>

#include <string_view>

// The tests of the client start this very program as the gateway.
int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--gateway") {
    return understudy::gateway::run_gateway({.control_socket = argv[2]});
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
