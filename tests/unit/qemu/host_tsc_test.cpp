#include "qemu/host_tsc.hpp"

#include <gtest/gtest.h>

namespace understudy::qemu {
namespace {

TEST(HostTsc, TwoMeasurementsAgree) {
  const auto one = static_cast<double>(host_tsc_khz());
  const auto other = static_cast<double>(host_tsc_khz());
  if (one == 0) GTEST_SKIP() << "this host's processor has no time stamp counter";
  EXPECT_GT(one, 100'000) << "in kHz: no processor that runs QEMU counts so slowly";
  EXPECT_NEAR(one, other, one / 200) << "a guest's kernel takes no frequency that is wrong by a hundredth";
}

}  // namespace
}  // namespace understudy::qemu
