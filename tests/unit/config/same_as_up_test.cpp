// Whatever `check` accepts, `up` brings up: files are drawn at random, near every limit, and what parse()
// lets through is done as the daemon would do it: each guest is told of its applications and understands it,
// and all addresses are listened on at once.
#include "config/config.hpp"
#include "config/listen_address.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <rapidcheck/gtest.h>
#include <sys/socket.h>

#include <array>
#include <set>
#include <string>
#include <vector>

namespace understudy::config {
namespace {

std::uint16_t free_port() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

std::string application(int number, const std::string& argument, const std::string& variable, int repeats) {
  std::string toml = fmt::format(
      "[[application]]\nname = \"app{}\"\nguests = [\"alpha\"]\nmemory = \"1 MiB\"\nstart = [\"/bin/app\", "
      "\"{}\"]\n",
      number, argument);
  toml += "environment = { ";
  for (int i = 0; i < repeats; ++i) toml += fmt::format("{}V{} = \"{}\"", i == 0 ? "" : ", ", i, variable);
  return toml + " }\n";
}

const std::string kHead =
    "[pool]\nmemory = \"8 GiB\"\n[image]\nkernel = \"k\"\ninitramfs = \"i\"\ndisk = \"d\"\n[[guest]]\nname = "
    "\"alpha\"\n"
    "base_memory = \"512 MiB\"\n";

RC_GTEST_PROP(SameAsUp, EveryAddressThatWasAcceptedCanBeListenedOn, ()) {
  static const std::array<std::uint16_t, 2> kPorts{free_port(), free_port()};
  std::string toml = kHead;
  const int applications = *rc::gen::inRange(1, 4);
  for (int number = 0; number < applications; ++number) {
    const std::string host =
        *rc::gen::element<std::string>("127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]",
                                       "[::ffff:127.0.0.1]", "[::ffff:7f00:2]", "[0::0]", "127.1");
    toml += application(number, "a", "a", 0) +
            fmt::format("address = {{ listen = \"{}:{}\", port = {} }}\n", host,
                        kPorts.at(*rc::gen::inRange<std::size_t>(0, 2)), number + 1);
  }
  const auto config = parse(toml, "drawn.toml");
  RC_CLASSIFY(config.has_value(), "accepted");
  if (!config) return;
  std::vector<UniqueFd> held;
  for (const Application& app : config->applications) {
    auto bound = bound_socket({app.address->listen_host, app.address->listen_port});
    if (!bound && (bound.error() == EAFNOSUPPORT || bound.error() == EADDRNOTAVAIL))
      continue;  // no IPv6 here
    RC_ASSERT(bound.has_value());
    RC_ASSERT(::listen(bound->get(), 1) == 0);
    held.push_back(std::move(*bound));
  }
}

TEST(SameAsUp, AControlCharacterIsRefusedWhereItStands) {
  for (const char* bad : {"\\u001b", "\\u0000", "\\u009b", "\\u007f"}) {
    const auto config = parse(kHead + application(0, bad, "a", 1), "f.toml");
    ASSERT_FALSE(config);
    EXPECT_NE(config.error()[0].find("f.toml:14:22: an argument in start has a control character"),
              std::string::npos)
        << config.error()[0];
  }
  EXPECT_TRUE(parse(kHead + application(0, "one\\n\\ttwo", "\\n", 1), "f.toml"));
}

TEST(SameAsUp, AnIpv4AddressInIpv6ClothesIsRefusedWithTheOneToWrite) {
  const auto address = parse_listen_address("[::ffff:127.0.0.1]:80");
  ASSERT_FALSE(address);
  EXPECT_NE(address.error().message.find("write \"127.0.0.1:80\""), std::string::npos)
      << address.error().message;
}

}  // namespace
}  // namespace understudy::config
