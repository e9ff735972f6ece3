#include "common/slo/decimal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::weir::test::StatusIs;

std::string Canonical(std::string_view text) {
  const absl::StatusOr<Decimal> value = Decimal::Parse(text);
  return value.ok() ? value->ToString() : std::string(value.status().message());
}

TEST(DecimalTest, IsReadAsWrittenAndPrintedInOneForm) {
  EXPECT_EQ(Canonical("0.999"), "0.999");
  EXPECT_EQ(Canonical("99.9%"), "0.999");
  EXPECT_EQ(Canonical("14.4"), "14.4");
  EXPECT_EQ(Canonical("14.400"), "14.4");
  EXPECT_EQ(Canonical("0014"), "14");
  EXPECT_EQ(Canonical("-0.5"), "-0.5");
  EXPECT_EQ(Canonical("-0"), "0");
  EXPECT_EQ(Canonical("0.000"), "0");
  EXPECT_EQ(Canonical("100%"), "1");
  EXPECT_EQ(Canonical("1000%"), "10");
  EXPECT_EQ(Canonical("99.9999999%"), "0.999999999");
  EXPECT_EQ(Canonical("0.0000000010000"), "0.000000001");
  EXPECT_EQ(Canonical("999999999999999999"), "999999999999999999");
  EXPECT_EQ(Canonical("-999999999.999999999"), "-999999999.999999999");
}

TEST(DecimalTest, UnitsAndScaleAreTheValue) {
  EXPECT_EQ(Decimal::Parse("0.9990")->units(), 999);
  EXPECT_EQ(Decimal::Parse("0.9990")->scale(), 3);
  EXPECT_EQ(Decimal::Of(100, 2), Decimal::Of(1, 0));
  EXPECT_EQ(Decimal::Of(0, 9), Decimal());
  EXPECT_EQ(Decimal::Parse("14.4")->ToRatio(), Ratio(72, 5));
}

TEST(DecimalTest, WhatIsNoDecimalIsRefusedWithTheForm) {
  for (const char* text :
       {"",     "-",   ".5",  "5.",  "+1",    "1,5", "1 000", " 1",  "1 ",   "1e-3", "1E3",
        "0x10", "nan", "inf", "--1", "1.2.3", "%",   "1%%",   "1%0", "0.9.", "٣"}) {
    EXPECT_THAT(Decimal::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not a decimal; write")))
        << text;
  }
  EXPECT_THAT(Decimal::Parse("1e-3").status().message(), HasSubstr("1e-3 is written 0.001"));
}

TEST(DecimalTest, WhatCannotBeKeptExactlyIsRefusedNotRounded) {
  for (const char* text :
       {"0.0000000001", "99.99999999%", "1000000000000000000", "9999999999.999999999",
        "9999999999999999999999999999999999999999", "0.99999999999999999999999999999999999999"}) {
    EXPECT_THAT(Decimal::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too many digits")))
        << text;
  }
  EXPECT_THAT(
      Decimal::Parse(std::string(100'000, '9')),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a decimal of 100000 characters")));
}

TEST(DecimalTest, ComparesByValue) {
  EXPECT_LT(*Decimal::Parse("0.9"), *Decimal::Parse("0.95"));
  EXPECT_GT(*Decimal::Parse("14"), *Decimal::Parse("9.5"));
  EXPECT_LT(*Decimal::Parse("-1"), *Decimal::Parse("-0.5"));
  EXPECT_LT(Decimal::Of(Decimal::kMaxUnits, 9), Decimal::Of(Decimal::kMaxUnits, 0));
  EXPECT_EQ(Decimal::Parse("50%"), Decimal::Parse("0.5"));
}

}  // namespace
}  // namespace weir
