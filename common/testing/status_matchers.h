// IsOk, StatusIs and IsOkAndHolds for absl::Status and absl::StatusOr, shaped
// like those of later Abseils (absl_testing), so that they can be deleted one day.
//
//   EXPECT_THAT(Open(path), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
//   EXPECT_THAT(Count(), IsOkAndHolds(3));
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

// Asserts that `expression`, an absl::StatusOr, is OK, and assigns its value.
#define WEIR_ASSERT_OK_AND_ASSIGN(lhs, expression) \
  WEIR_ASSERT_OK_AND_ASSIGN_INNER(WEIR_ASSERT_CONCAT(weir_statusor_, __LINE__), lhs, expression)
#define WEIR_ASSERT_CONCAT_INNER(a, b) a##b
#define WEIR_ASSERT_CONCAT(a, b) WEIR_ASSERT_CONCAT_INNER(a, b)
#define WEIR_ASSERT_OK_AND_ASSIGN_INNER(statusor, lhs, expression) \
  auto statusor = (expression);                                    \
  ASSERT_TRUE(statusor.ok()) << statusor.status();                 \
  lhs = std::move(statusor).value()

namespace weir::test {
namespace internal {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& statusor) {
  return statusor.status();
}

}  // namespace internal

MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  *result_listener << "whose status is " << internal::StatusOf(arg);
  return internal::StatusOf(arg).ok();
}

MATCHER_P2(StatusIs, code, message, "has that status code and message") {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "whose status is " << status << " ";
  return ::testing::ExplainMatchResult(::testing::Matcher<absl::StatusCode>(code), status.code(),
                                       result_listener) &&
         ::testing::ExplainMatchResult(::testing::Matcher<std::string>(message),
                                       std::string(status.message()), result_listener);
}

template <typename Code>
auto StatusIs(Code code) {
  return StatusIs(code, ::testing::_);
}

MATCHER_P(IsOkAndHolds, value, "is OK and holds that value") {
  if (!arg.ok()) {
    *result_listener << "whose status is " << arg.status();
    return false;
  }
  return ::testing::ExplainMatchResult(value, *arg, result_listener);
}

}  // namespace weir::test
