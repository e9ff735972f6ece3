// A small seeded random number generator for simulations, tests and jitter;
// never for secrets or identifiers.
//
// SplitMix64 (Steele, Lea and Flood, 2014): the state is a counter that steps by
// the odd constant 0x9e3779b97f4a7c15, and each output is a mix of it. The stream
// of a seed is part of the contract (base_test.cc holds its first values), so a
// seed in a bug report means the same run on every machine and in every release.
// Seeding costs nothing, which a simulation of 100,000 seeds needs.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir {

class Random {
 public:
  using result_type = uint64_t;

  explicit Random(uint64_t seed) : state_(seed) {}

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return UINT64_MAX; }

  uint64_t operator()() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  // In [0, limit); 0 when `limit` is 0. Biased by less than limit / 2^64.
  uint64_t Below(uint64_t limit) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>((*this)()) * limit >> 64);
  }

  // In [first, last], both included.
  uint64_t Between(uint64_t first, uint64_t last) { return first + Below(last - first + 1); }

  // True once in `n` times.
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // In [0, 1).
  double Fraction() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

  // A generator whose stream is independent of what this one yields next, so
  // that one more draw in one part of a simulation does not change the others.
  Random Fork() { return Random((*this)() ^ 0x5851f42d4c957f2d); }

 private:
  uint64_t state_;
};

}  // namespace weir
