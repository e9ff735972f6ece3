// What requests that are being parsed may take in memory together: a few bytes on the
// wire become a hundred.
//
// Thread safety: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"

namespace weir::collector {

class ParseBudget {
 public:
  // Requests of an SDK, or of Prometheus, have some 100 KiB, and take about four times
  // as much.
  static constexpr int64_t kDefaultBytes = int64_t{128} << 20;

  explicit ParseBudget(int64_t bytes = kDefaultBytes) : bytes_(bytes), left_(bytes) {}

  // Returns what was taken when it is destroyed.
  class Share {
   public:
    Share(ParseBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
    ~Share() {
      if (budget_ != nullptr) budget_->left_ += bytes_;
    }
    Share(Share&& other) noexcept : budget_(other.budget_), bytes_(other.bytes_) {
      other.budget_ = nullptr;
    }
    Share& operator=(Share&&) = delete;

   private:
    ParseBudget* budget_;
    const int64_t bytes_;
  };

  // Errors: ResourceExhausted (MESSAGE_TOO_LARGE) for more than there ever is,
  // Unavailable (OVERLOADED) with a delay for more than there is now.
  absl::StatusOr<Share> Take(int64_t bytes);

  int64_t bytes() const { return bytes_; }

 private:
  const int64_t bytes_;
  std::atomic<int64_t> left_;
};

}  // namespace weir::collector
