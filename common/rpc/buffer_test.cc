#include "common/rpc/buffer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/rpc/error.h"
#include "common/rpc/unary.h"
#include "common/testing/gzip.h"
#include "common/testing/status_matchers.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir::rpc {
namespace {

using test::IsOk;
using test::StatusIs;

v1::PushRequest Request(size_t samples) {
  v1::PushRequest request;
  for (size_t i = 0; i < samples; ++i) {
    auto* sample = request.add_samples();
    sample->set_name("tokens_" + std::to_string(i));
    sample->set_integer_value(static_cast<int64_t>(i));
  }
  return request;
}

// One buffer of slices of at most `slice_bytes`.
grpc::ByteBuffer Sliced(const std::string& bytes, size_t slice_bytes) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < bytes.size(); i += slice_bytes) {
    slices.emplace_back(bytes.substr(i, slice_bytes));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// As small as it gets: a bomb.
std::string Gzip(const std::string& bytes) { return weir::test::Gzip(bytes, Z_BEST_COMPRESSION); }

TEST(BufferTest, MessagesOfEverySizeSurvive) {
  for (const size_t samples : {0, 1, 100, 20'000}) {
    const v1::PushRequest sent = Request(samples);
    v1::PushRequest received = Request(3);  // is cleared
    ASSERT_THAT(Parse(ToBuffer(sent), &received), IsOk());
    EXPECT_EQ(received.SerializeAsString(), sent.SerializeAsString());
  }
}

TEST(BufferTest, SlicesAndCompressionMakeNoDifference) {
  const v1::PushRequest sent = Request(5000);
  const std::string bytes = sent.SerializeAsString();
  const std::string gzip = Gzip(bytes);
  for (const size_t slice_bytes : {1, 7, 4096, 1 << 20}) {
    v1::PushRequest received;
    ASSERT_THAT(Parse(Sliced(bytes, slice_bytes), &received), IsOk());
    EXPECT_EQ(received.samples_size(), 5000);
    ASSERT_THAT(Parse(Sliced(gzip, slice_bytes), &received), IsOk());
    EXPECT_EQ(received.SerializeAsString(), bytes);
  }
}

TEST(BufferTest, ABombCostsItsLimitAndNoMore) {
  v1::PushRequest message;
  message.set_idempotency_key(std::string(64 << 20, 'a'));
  const std::string bomb = Gzip(message.SerializeAsString());
  ASSERT_LT(bomb.size(), 100'000u);
  const absl::Status status = Parse(Sliced(bomb, 1000), &message, 1 << 20);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReasonOf(status), v1::MESSAGE_TOO_LARGE);
}

TEST(BufferTest, ALimitIsInclusive) {
  const v1::PushRequest sent = Request(1000);
  const auto bytes = static_cast<int64_t>(sent.ByteSizeLong());
  v1::PushRequest received;
  EXPECT_THAT(Parse(ToBuffer(sent), &received, bytes), IsOk());
  EXPECT_EQ(ReasonOf(Parse(ToBuffer(sent), &received, bytes - 1)), v1::MESSAGE_TOO_LARGE);
  const grpc::ByteBuffer gzip = Sliced(Gzip(sent.SerializeAsString()), 1 << 20);
  EXPECT_THAT(Parse(gzip, &received, bytes), IsOk());
  EXPECT_EQ(ReasonOf(Parse(gzip, &received, bytes - 1)), v1::MESSAGE_TOO_LARGE);
}

TEST(BufferTest, EveryTruncationIsAnError) {
  v1::PushRequest sent;
  sent.set_idempotency_key("key");
  const std::string bytes = sent.SerializeAsString();
  const std::string gzip = Gzip(Request(10).SerializeAsString());
  v1::PushRequest received;
  for (size_t length = 1; length < bytes.size(); ++length) {
    EXPECT_FALSE(Parse(Sliced(bytes.substr(0, length), 100), &received).ok()) << length;
  }
  for (size_t length = 2; length < gzip.size(); ++length) {
    EXPECT_FALSE(Parse(Sliced(gzip.substr(0, length), 100), &received).ok()) << length;
  }
  EXPECT_FALSE(Parse(Sliced(gzip + "more", 100), &received).ok());
  EXPECT_EQ(ReasonOf(Parse(Sliced("\xff\xff\xff\xff", 100), &received)), v1::UNDECODABLE);
}

TEST(BufferTest, ABufferThatWasNeverFilledIsUndecodable) {
  v1::PushRequest received;
  EXPECT_FALSE(Parse(grpc::ByteBuffer(), &received).ok());
}

grpc::Status Count(const std::string& bytes, grpc::ByteBuffer* out) {
  return RawUnary<v1::PushRequest, v1::PushResponse>(
      Sliced(bytes, 100), out, [](const v1::PushRequest& request, v1::PushResponse* response) {
        if (request.samples().empty()) return InvalidField("samples", "must not be empty");
        response->set_accepted_count(request.samples_size());
        return absl::OkStatus();
      });
}

TEST(RawUnaryTest, RequestsAreAnsweredCompressedOrNot) {
  const std::string bytes = Request(100).SerializeAsString();
  for (const std::string& sent : {bytes, Gzip(bytes)}) {
    grpc::ByteBuffer out;
    ASSERT_TRUE(Count(sent, &out).ok());
    v1::PushResponse response;
    ASSERT_THAT(Parse(out, &response), IsOk());
    EXPECT_EQ(response.accepted_count(), 100);
  }
}

TEST(RawUnaryTest, WhatIsWrongIsSaidAndNothingIsAnswered) {
  const std::string bytes = Request(100).SerializeAsString();
  const std::string gzip = Gzip(bytes);
  const std::string large = Request(100'000).SerializeAsString();
  const auto refused = [](const std::string& sent) {
    grpc::ByteBuffer out;
    const absl::Status status = FromGrpc(Count(sent, &out));
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(out.Valid());
    return ReasonOf(status);
  };
  EXPECT_EQ(refused(bytes.substr(0, bytes.size() - 1)), v1::UNDECODABLE);
  EXPECT_EQ(refused(gzip.substr(0, gzip.size() - 1)), v1::UNDECODABLE);
  EXPECT_EQ(refused(gzip + "x"), v1::UNDECODABLE);
  EXPECT_EQ(refused(large), v1::MESSAGE_TOO_LARGE);
  EXPECT_EQ(refused(Gzip(large)), v1::MESSAGE_TOO_LARGE);
  EXPECT_EQ(refused(""), v1::INVALID_FIELD);
}

}  // namespace
}  // namespace weir::rpc
