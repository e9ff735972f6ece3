// The seed of a randomised test: WEIR_TEST_SEED when it is set, so that a failure
// can be had again, else `otherwise` or one that nobody has tried. Printed, so
// that a failure names it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>

namespace weir::test {

inline uint64_t TestSeed(std::optional<uint64_t> otherwise = std::nullopt) {
  const char* text = std::getenv("WEIR_TEST_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10)
                                        : otherwise.value_or(std::random_device{}());
  std::printf("WEIR_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  return seed;
}

}  // namespace weir::test
