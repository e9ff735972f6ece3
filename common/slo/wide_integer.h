// Whole numbers of any size, by the methods of school: what the arithmetic of this
// folder is compared with in tests. Slow, and too simple to be wrong.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"

namespace weir::test {

// At least 0. Digits to the base of 2^32, the lowest first, without zeros at the end.
class WideInteger {
 public:
  // REQUIRES: value >= 0.
  WideInteger(int64_t value)  // NOLINT(google-explicit-constructor)
      : WideInteger(absl::int128(value)) {}
  WideInteger(absl::int128 value) {  // NOLINT(google-explicit-constructor)
    for (; value != 0; value >>= 32) digits_.push_back(static_cast<uint32_t>(value & 0xffffffff));
  }

  friend WideInteger operator+(const WideInteger& a, const WideInteger& b) {
    WideInteger sum(0);
    uint64_t carry = 0;
    for (size_t i = 0; i < std::max(a.digits_.size(), b.digits_.size()) || carry != 0; ++i) {
      carry += uint64_t{a.Digit(i)} + b.Digit(i);
      sum.digits_.push_back(static_cast<uint32_t>(carry));
      carry >>= 32;
    }
    return sum;
  }

  friend WideInteger operator*(const WideInteger& a, const WideInteger& b) {
    WideInteger product(0);
    for (size_t i = 0; i < a.digits_.size(); ++i) {
      WideInteger row(0);
      row.digits_.assign(i, 0);
      uint64_t carry = 0;
      for (size_t j = 0; j < b.digits_.size() || carry != 0; ++j) {
        carry += uint64_t{a.digits_[i]} * b.Digit(j);
        row.digits_.push_back(static_cast<uint32_t>(carry));
        carry >>= 32;
      }
      product = product + row;
    }
    product.Trim();
    return product;
  }

  friend bool operator==(const WideInteger&, const WideInteger&) = default;
  friend bool operator<(const WideInteger& a, const WideInteger& b) {
    if (a.digits_.size() != b.digits_.size()) return a.digits_.size() < b.digits_.size();
    return std::lexicographical_compare(a.digits_.rbegin(), a.digits_.rend(), b.digits_.rbegin(),
                                        b.digits_.rend());
  }
  friend bool operator>(const WideInteger& a, const WideInteger& b) { return b < a; }
  friend bool operator<=(const WideInteger& a, const WideInteger& b) { return !(b < a); }

 private:
  uint32_t Digit(size_t i) const { return i < digits_.size() ? digits_[i] : 0; }
  void Trim() {
    while (!digits_.empty() && digits_.back() == 0) digits_.pop_back();
  }

  std::vector<uint32_t> digits_;
};

// Whether quotient = floor(numerator / denominator), without dividing.
inline bool IsFloor(absl::int128 quotient, const WideInteger& numerator,
                    const WideInteger& denominator) {
  return quotient >= 0 && denominator * quotient <= numerator &&
         numerator < denominator * (quotient + 1);
}

}  // namespace weir::test
