#include "common/client/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <string>

#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/testing/status_matchers.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir::client {
namespace {

using test::StatusIs;
using ::testing::ElementsAre;

Series SeriesOf(uint32_t number) {
  return {.name = "s" + std::to_string(number), .kind = Kind::kCounter, .labels = {{"l", "v"}}};
}

v1::Batch Parse(const grpc::ByteBuffer& bytes) {
  v1::StreamBatchesRequest request;
  EXPECT_THAT(rpc::Parse(bytes, &request), test::IsOk());
  return request.batch();
}

BufferedSample Float(uint32_t series, int64_t time, double value) {
  return {.event_unix_nano = time, .bits = std::bit_cast<uint64_t>(value), .series = series};
}
BufferedSample Integer(uint32_t series, int64_t time, int64_t value) {
  return {.event_unix_nano = time,
          .bits = static_cast<uint64_t>(value),
          .series = series,
          .integer = true};
}

TEST(BatchEncoderTest, ColumnsHoldTheSamplesInOrder) {
  BatchEncoder encoder(SeriesOf);
  const v1::Batch batch = Parse(encoder.Encode(
      7, {Float(0, 1000, 0.5), Integer(1, 1010, -3), Float(0, 990, 1.5), Integer(1, 1030, 4)}));
  EXPECT_EQ(batch.sequence(), 7);
  EXPECT_EQ(batch.base_time_unix_nano(), 1000);
  EXPECT_THAT(batch.floats().refs(), ElementsAre(0, 0));
  EXPECT_THAT(batch.floats().time_deltas(), ElementsAre(0, -10));
  EXPECT_THAT(batch.floats().values(), ElementsAre(0.5, 1.5));
  EXPECT_THAT(batch.integers().refs(), ElementsAre(1, 1));
  EXPECT_THAT(batch.integers().time_deltas(), ElementsAre(10, 20));
  EXPECT_THAT(batch.integers().values(), ElementsAre(-3, 4));
  ASSERT_EQ(batch.series_size(), 2);
  EXPECT_EQ(batch.series(1).name(), "s1");
  EXPECT_EQ(batch.series(1).kind(), v1::KIND_COUNTER);
  EXPECT_EQ(batch.series(1).labels().at("l"), "v");
}

TEST(BatchEncoderTest, SeriesAreDefinedOnceUntilTheirBatchIsUndone) {
  BatchEncoder encoder(SeriesOf);
  EXPECT_EQ(Parse(encoder.Encode(1, {Float(0, 0, 1)})).series_size(), 1);
  EXPECT_EQ(Parse(encoder.Encode(2, {Float(0, 0, 1), Float(3, 0, 1)})).series_size(), 1);
  encoder.UndefineFrom(2);
  EXPECT_EQ(Parse(encoder.Encode(2, {Float(0, 0, 1), Float(3, 0, 1)})).series_size(), 1);
  encoder.UndefineFrom(1);
  EXPECT_EQ(Parse(encoder.Encode(1, {Float(0, 0, 1), Float(3, 0, 1)})).series_size(), 2);
}

TEST(BatchEncoderTest, AnEmptyBatchIsOnlyItsNumber) {
  BatchEncoder encoder(SeriesOf);
  EXPECT_GT(Parse(encoder.Encode(1, {Float(0, 5, 1)})).ByteSizeLong(), 10u);
  const v1::Batch batch = Parse(encoder.Encode(2, {}));
  v1::Batch expected;
  expected.set_sequence(2);
  EXPECT_EQ(batch.SerializeAsString(), expected.SerializeAsString());
}

TEST(BatchEncoderTest, TheEndsOfTimeWrapAsTheCollectorsSumDoes) {
  BatchEncoder encoder(SeriesOf);
  const int64_t first = std::numeric_limits<int64_t>::min();
  const int64_t last = std::numeric_limits<int64_t>::max();
  const v1::Batch batch = Parse(encoder.Encode(1, {Float(0, first, 1), Float(0, last, 1)}));
  EXPECT_THAT(batch.floats().time_deltas(), ElementsAre(0, -1));
}

// What RecorderCore reserves for a batch is what it can take, whatever is in it.
TEST(BatchEncoderTest, NoSampleTakesMoreThanTwentyFiveBytes) {
  std::vector<BufferedSample> floats, integers;
  for (int i = 0; i < 1000; ++i) {
    const int64_t time = i % 2 == 0 ? 0 : std::numeric_limits<int64_t>::min();
    floats.push_back(Float(1'000'000, time, 1));
    integers.push_back(Integer(1'000'000, time, std::numeric_limits<int64_t>::min()));
  }
  for (const auto& samples : {floats, integers}) {
    BatchEncoder encoder(SeriesOf);
    EXPECT_LE(encoder.Encode(1, samples).Length(), 1000u * 25 + 128);
  }
}

TEST(DecoderTest, KnowsTheThreeAnswers) {
  Decoder decoder;
  v1::StreamBatchesResponse response;
  response.mutable_session_opened()->set_last_sequence(3);
  response.mutable_session_opened()->set_max_message_bytes(1000);
  auto decoded = decoder.Decode(rpc::ToBuffer(response));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(std::get<SessionOpened>(*decoded).last_sequence, 3);
  EXPECT_EQ(std::get<SessionOpened>(*decoded).max_message_bytes, 1000);

  response.mutable_batches_acked()->set_sequence(5);
  auto* rejection = response.mutable_batches_acked()->add_rejections()->add_rejections();
  rejection->set_reason(v1::VALUE_NEGATIVE);
  rejection->set_count(2);
  decoded = decoder.Decode(rpc::ToBuffer(response));
  ASSERT_TRUE(decoded.ok());
  const auto& acked = std::get<BatchesAcked>(*decoded);
  EXPECT_EQ(acked.sequence, 5);
  ASSERT_EQ(acked.rejections.size(), 1u);
  EXPECT_EQ(acked.rejections[0].reason, "VALUE_NEGATIVE");
  EXPECT_EQ(acked.rejections[0].count, 2);

  response.mutable_rewind()->set_next_sequence(4);
  response.mutable_rewind()->mutable_retry_delay()->set_nanos(200'000'000);
  decoded = decoder.Decode(rpc::ToBuffer(response));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(std::get<Rewind>(*decoded).next_sequence, 4);
  EXPECT_EQ(std::get<Rewind>(*decoded).retry_delay, absl::Milliseconds(200));
}

TEST(DecoderTest, AnythingElseIsAnError) {
  Decoder decoder;
  EXPECT_THAT(decoder.Decode(rpc::ToBuffer(v1::StreamBatchesResponse())).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const grpc::Slice slice("\xff\xff");
  EXPECT_THAT(decoder.Decode(grpc::ByteBuffer(&slice, 1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(EndOfTest, TheReasonDecides) {
  EXPECT_EQ(EndOf(absl::UnavailableError("gone")).cause, StreamEnd::kBroken);
  EXPECT_EQ(EndOf(absl::OkStatus()).cause, StreamEnd::kBroken);
  EXPECT_EQ(EndOf(absl::UnauthenticatedError("who?")).cause, StreamEnd::kBroken);
  EXPECT_EQ(EndOf(absl::InvalidArgumentError("what?")).cause, StreamEnd::kRefused);
  EXPECT_EQ(
      EndOf(rpc::Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE, "")).cause,
      StreamEnd::kRefused);
  EXPECT_EQ(
      EndOf(rpc::Error(absl::StatusCode::kResourceExhausted, v1::TOO_MANY_SESSIONS, "")).cause,
      StreamEnd::kBroken);
  EXPECT_EQ(EndOf(rpc::Error(absl::StatusCode::kFailedPrecondition, v1::SESSION_UNKNOWN, "")).cause,
            StreamEnd::kSessionUnknown);
  EXPECT_EQ(
      EndOf(rpc::WithRetryDelay(absl::UnavailableError("later"), absl::Seconds(1))).retry_delay,
      absl::Seconds(1));
}

}  // namespace
}  // namespace weir::client
