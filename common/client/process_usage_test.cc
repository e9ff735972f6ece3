#include "common/client/process_usage.h"

#include <gtest/gtest.h>

namespace weir::client {
namespace {

TEST(ProcessUsageTest, TheCommandsNameMayHoldAnything) {
  EXPECT_EQ(ParseCpuTicks("7 (a ) 1 2 (b) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 1 0 5"),
            42);
}

TEST(ProcessUsageTest, WhatCannotBeReadIsNothing) {
  EXPECT_EQ(ParseCpuTicks(""), std::nullopt);
  EXPECT_EQ(ParseCpuTicks("7 (a) S 1 7"), std::nullopt);
  EXPECT_EQ(ParseResidentPages(""), std::nullopt);
  EXPECT_EQ(ParseResidentPages("12"), std::nullopt);
  EXPECT_EQ(ParseResidentPages("1200 345 67 8 0 9 0"), 345);
}

TEST(ProcessUsageTest, ThisProcessUsesSomething) {
  const auto usage = ReadProcessUsage();
  ASSERT_TRUE(usage.has_value());
  EXPECT_GE(usage->cpu_seconds, 0);
  EXPECT_GT(usage->resident_bytes, 1 << 20);
}

}  // namespace
}  // namespace weir::client
