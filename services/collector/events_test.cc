#include "services/collector/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/telemetry/log.h"
#include "common/testing/fake_clock.h"

namespace weir::collector {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EventsTest : public ::testing::Test {
 protected:
  EventsTest() {
    telemetry::SetLogSink(
        [this](telemetry::Level, std::string_view line) { lines_.emplace_back(line); });
  }
  ~EventsTest() override { telemetry::SetLogSink(nullptr); }

  void Reject(std::string_view protocol, enum Reject reason, std::string_view message,
              int64_t count) {
    Rejections rejections;
    rejections.Add(reason, message, count);
    events_.Rejected(protocol, rejections);
  }

  test::FakeClock clock_;
  telemetry::Registry registry_;
  Events events_{registry_, clock_};
  std::vector<std::string> lines_;
};

TEST_F(EventsTest, ARejectionIsLoggedOnceAMinuteForEachReason) {
  Reject("otlp", Reject::kTimeTooOld, "the first of them", 3);
  Reject("push", Reject::kTimeTooOld, "another", 2);
  Reject("otlp", Reject::kNameInvalid, "an empty name", 1);
  clock_.Advance(absl::Seconds(59));
  Reject("otlp", Reject::kTimeTooOld, "one more", 4);
  clock_.Advance(absl::Seconds(2));
  Reject("stream", Reject::kTimeTooOld, "the next minute's", 1);
  EXPECT_THAT(lines_,
              ElementsAre(AllOf(HasSubstr("reason=time_too_old"), HasSubstr("count=3"),
                                HasSubstr("the first of them"), HasSubstr("protocol=otlp")),
                          AllOf(HasSubstr("reason=name_invalid"), HasSubstr("count=1")),
                          AllOf(HasSubstr("reason=time_too_old"), HasSubstr("count=7"),
                                HasSubstr("the next minute's"), HasSubstr("protocol=stream"))));
}

TEST_F(EventsTest, EveryRejectedSampleIsCounted) {
  for (int i = 0; i < 5; ++i) Reject("otlp", Reject::kTimeTooOld, "old", 2);
  EXPECT_THAT(
      registry_.Render(),
      HasSubstr("weir_rejected_samples_total{protocol=\"otlp\",reason=\"time_too_old\"} 10"));
}

TEST_F(EventsTest, NoLineIsLongerThanALineShouldBe) {
  Reject("otlp", Reject::kNameInvalid, std::string(1 << 20, 'x'), 1);
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_LT(lines_[0].size(), 600u);
}

}  // namespace
}  // namespace weir::collector
