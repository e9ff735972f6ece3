#include <limits>
#include <set>
#include <string>
#include <thread>

#include "absl/numeric/int128.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/id128.h"
#include "common/base/int128_text.h"
#include "common/base/mutant.h"
#include "common/base/random.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::weir::test::FakeClock;
using ::weir::test::IsOk;
using ::weir::test::IsOkAndHolds;
using ::weir::test::StatusIs;

TEST(BytesTest, FixedAndVarintsComeBackAsWritten) {
  std::string bytes;
  AppendFixed(uint32_t{0x01020304}, &bytes);
  AppendFixed(-1.5, &bytes);
  const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT64_MAX};
  for (const uint64_t value : values) AppendVarint(value, &bytes);
  AppendLengthPrefixed("abc", &bytes);
  EXPECT_EQ(bytes.substr(0, 4), "\x04\x03\x02\x01");

  ByteReader reader(bytes);
  EXPECT_EQ(reader.Fixed<uint32_t>(), 0x01020304u);
  EXPECT_EQ(reader.Fixed<double>(), -1.5);
  for (const uint64_t value : values) EXPECT_EQ(reader.Varint(), value);
  EXPECT_EQ(reader.LengthPrefixed(), "abc");
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.empty());
}

TEST(BytesTest, ReadingPastTheEndFailsForGoodAndYieldsZero) {
  ByteReader reader("\x05");
  EXPECT_EQ(reader.Fixed<uint64_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Varint(), 0u);
  EXPECT_FALSE(reader.ok());

  ByteReader too_long(
      "\x05"
      "abc");
  EXPECT_EQ(too_long.LengthPrefixed(), "");
  EXPECT_FALSE(too_long.ok());
}

TEST(BytesTest, AVarintBeyond64BitsIsRefused) {
  ByteReader reader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
  reader.Varint();
  EXPECT_FALSE(reader.ok());
}

TEST(BytesTest, ZigZagKeepsSmallMagnitudesSmall) {
  EXPECT_EQ(ZigZag(0), 0u);
  EXPECT_EQ(ZigZag(-1), 1u);
  EXPECT_EQ(ZigZag(1), 2u);
  for (const int64_t value : {INT64_MIN, INT64_MIN + 1, int64_t{-7}, INT64_MAX}) {
    EXPECT_EQ(UnZigZag(ZigZag(value)), value);
  }
}

TEST(Crc32cTest, KnownAnswersAndPiecewiseIsTheSame) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720 B.4
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), 0xe3069283u);
}

TEST(Id128Test, BytesAndHexAgreeWithNumericOrder) {
  const WalId id{.high = 0x0123456789abcdef, .low = 0x0011223344556677};
  EXPECT_EQ(id.ToHex(), "0123456789abcdef0011223344556677");
  EXPECT_THAT(WalId::FromHex(id.ToHex()), IsOkAndHolds(id));
  EXPECT_EQ(WalId::FromBytes(id.ToBytes()), id);
  const WalId larger{.high = 0x0123456789abcdef, .low = 0x8000000000000000};
  EXPECT_LT(id, larger);
  EXPECT_LT(id.ToBytes(), larger.ToBytes());
}

TEST(Id128Test, OnlyThirtyTwoHexDigitsAreAnId) {
  EXPECT_THAT(WalId::FromHex(""), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(WalId::FromHex(std::string(31, '0')), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(WalId::FromHex(std::string(31, '0') + "g"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Int128TextTest, ExtremesComeBackExactly) {
  for (const absl::int128 value :
       {absl::Int128Min(), absl::Int128Max(), absl::int128(0), absl::int128(-1),
        absl::int128(INT64_MIN), absl::int128(INT64_MIN) - 1, absl::int128(INT64_MAX) + 1}) {
    EXPECT_THAT(Int128FromString(Int128ToString(value)), IsOkAndHolds(value));
  }
  EXPECT_EQ(Int128ToString(absl::Int128Min()), "-170141183460469231731687303715884105728");
}

TEST(Int128TextTest, WhatDoesNotFitIsRefused) {
  EXPECT_THAT(Int128FromString("170141183460469231731687303715884105728"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  for (const char* const text :
       {"", "-", "+1", "1a", " 1", "999999999999999999999999999999999999999"}) {
    EXPECT_THAT(Int128FromString(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(MutantTest, EveryValueHasItsOwnNameAndComesBack) {
  std::set<std::string_view> names;
  for (int value = 0; value <= static_cast<int>(Mutant::kFloorUnchecked); ++value) {
    const Mutant mutant = static_cast<Mutant>(value);
    EXPECT_TRUE(names.insert(MutantName(mutant)).second);
    EXPECT_EQ(MutantFromName(MutantName(mutant)), mutant);
  }
  EXPECT_TRUE(names.contains("no_gap_check"));
  EXPECT_EQ(MutantFromName("no_such_mutant"), std::nullopt);
  EXPECT_EQ(MutantFromName(""), std::nullopt);
}

// The stream is a promise: a seed in a bug report is the same run for ever.
TEST(RandomTest, TheStreamOfASeedNeverChanges) {
  Random random(1234567);
  EXPECT_EQ(random(), 6457827717110365317u);
  EXPECT_EQ(random(), 3203168211198807973u);
  EXPECT_EQ(random(), 9817491932198370423u);
}

TEST(RandomTest, ValuesStayWithinTheirBounds) {
  Random random(1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random.Between(3, 7);
    ASSERT_GE(value, 3u);
    ASSERT_LE(value, 7u);
    seen.insert(value);
    ASSERT_LT(random.Fraction(), 1.0);
    ASSERT_EQ(random.Below(0), 0u);
  }
  EXPECT_EQ(seen.size(), 5u);
}

TEST(StringsTest, EveryKindOfTextIsJoined) {
  const std::string_view view = "view";
  EXPECT_EQ(StrCat("literal ", view, " ", std::string("string "), 42, AbslView(" abseil")),
            "literal view string 42 abseil");
  std::string out = "a";
  StrAppend(&out, view, 1);
  EXPECT_EQ(out, "aview1");
  EXPECT_EQ(StdView(absl::InternalError("m").message()), "m");
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  WEIR_ASSIGN_OR_RETURN(const int half, Half(value));
  WEIR_RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(StatusMacrosTest, AnErrorReturnsAndAValueGoesOn) {
  EXPECT_THAT(Quarter(8), IsOkAndHolds(2));
  EXPECT_THAT(Quarter(6), StatusIs(absl::StatusCode::kInvalidArgument, "odd"));
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(absl::InternalError("x"), ::testing::Not(IsOk()));
}

TEST(CheckDeathTest, AFailedCheckNamesPlaceExpressionAndDetail) {
  EXPECT_DEATH(WEIR_CHECK(1 + 1 == 3), "base_test.cc:.*check failed: 1 \\+ 1 == 3");
  EXPECT_DEATH(WEIR_CHECK_MSG(false, "because"), "check failed: false: because");
  EXPECT_DEATH(WEIR_CHECK_OK(absl::DataLossError("torn")), "torn");
}

TEST(SystemClockTest, ADeadlineInThePastDoesNotWait) {
  Mutex mu;
  CondVar changed;
  MutexLock lock(&mu);
  EXPECT_FALSE(Clock::System().WaitUntil(&mu, &changed, Clock::System().Now()));
}

TEST(FakeClockTest, TimeStandsStillUntilItIsMoved) {
  FakeClock clock;
  EXPECT_EQ(clock.Now(), FakeClock::Epoch());
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now(), FakeClock::Epoch() + absl::Seconds(5));
  clock.Set(absl::UnixEpoch());
  EXPECT_EQ(clock.Now(), absl::UnixEpoch());
}

TEST(FakeClockTest, AdvancingWakesAWaiterAtItsDeadlineAndNotBefore) {
  FakeClock clock;
  const absl::Time deadline = clock.Now() + absl::Seconds(10);
  Mutex mu;
  CondVar changed;
  std::thread waiter([&] {
    MutexLock lock(&mu);
    while (clock.WaitUntil(&mu, &changed, deadline)) {
    }
    EXPECT_GE(clock.Now(), deadline);
  });
  for (int i = 0; i < 10; ++i) clock.Advance(absl::Seconds(1));
  waiter.join();
  EXPECT_EQ(clock.waiter_count(), 0);
}

TEST(FakeClockTest, ANotificationEndsAWaitBeforeTheDeadline) {
  FakeClock clock;
  Mutex mu;
  CondVar changed;
  bool ready = false;
  std::thread waiter([&] {
    MutexLock lock(&mu);
    while (!ready) {
      ASSERT_TRUE(clock.WaitUntil(&mu, &changed, absl::InfiniteFuture()));
    }
  });
  {
    MutexLock lock(&mu);
    ready = true;
    changed.NotifyAll();
  }
  waiter.join();
}

// Waiters come and go while time moves: nothing is notified after it is gone.
TEST(FakeClockTest, WaitersMayLeaveWhileTimeMoves) {
  FakeClock clock;
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&clock] {
      for (int round = 0; round < 200; ++round) {
        Mutex mu;
        CondVar changed;
        MutexLock lock(&mu);
        const absl::Time deadline = clock.Now() + absl::Seconds(1);
        while (clock.WaitUntil(&mu, &changed, deadline)) {
        }
      }
    });
  }
  std::thread mover([&clock] {
    const absl::Time end = clock.Now() + absl::Hours(10);
    while (clock.Now() < end) {
      clock.Advance(absl::Milliseconds(200));
      std::this_thread::yield();
    }
    clock.Set(absl::InfiniteFuture());
  });
  for (std::thread& waiter : waiters) waiter.join();
  mover.join();
}

}  // namespace
}  // namespace weir
