#include "common/rpc/error.h"

#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace weir::rpc {
namespace {

using test::StatusIs;
using ::testing::HasSubstr;

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(ErrorTest, AnErrorCarriesItsReasonDomainAndMetadata) {
  const absl::Status status = Error(absl::StatusCode::kInvalidArgument, v1::UNKNOWN_WINDOW,
                                    "no window \"2h\"", {{"window", "2h"}, {"valid", "5m,1h"}});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "no window \"2h\""));
  EXPECT_EQ(ReasonOf(status), v1::UNKNOWN_WINDOW);

  const google::rpc::Status details = Details(ToGrpc(status));
  EXPECT_EQ(details.code(), 3);
  EXPECT_EQ(details.message(), "no window \"2h\"");
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "UNKNOWN_WINDOW");
  EXPECT_EQ(info.domain(), "weir.dev");
  EXPECT_EQ(info.metadata().at("valid"), "5m,1h");
}

TEST(ErrorTest, EverythingSurvivesTheWireBothWays) {
  const absl::Status sent = WithRetryDelay(
      WithFieldViolation(
          Error(absl::StatusCode::kUnavailable, v1::LOG_FULL, "full", {{"limit_bytes", "9"}}),
          "samples[3].name", "is empty"),
      absl::Milliseconds(1500));
  const absl::Status received = FromGrpc(ToGrpc(sent));
  EXPECT_EQ(received, sent);
  EXPECT_EQ(ReasonOf(received), v1::LOG_FULL);
  EXPECT_EQ(RetryDelayOf(received), absl::Milliseconds(1500));
}

TEST(ErrorTest, OkStaysOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  EXPECT_TRUE(WithRetryDelay(absl::OkStatus(), absl::Seconds(1)).ok());
  EXPECT_TRUE(WithFieldViolation(absl::OkStatus(), "a", "b").ok());
}

TEST(ErrorTest, AStatusWithoutAReasonGetsTheOneOfItsCode) {
  const auto reason = [](absl::StatusCode code) {
    return ReasonOf(FromGrpc(ToGrpc(absl::Status(code, "why"))));
  };
  EXPECT_EQ(reason(absl::StatusCode::kInternal), v1::INTERNAL_BUG);
  EXPECT_EQ(reason(absl::StatusCode::kUnknown), v1::INTERNAL_BUG);
  EXPECT_EQ(reason(absl::StatusCode::kDataLoss), v1::INTERNAL_BUG);
  EXPECT_EQ(reason(absl::StatusCode::kUnavailable), v1::STORE_UNAVAILABLE);
  EXPECT_EQ(reason(absl::StatusCode::kAborted), v1::STORE_UNAVAILABLE);
  EXPECT_EQ(reason(absl::StatusCode::kInvalidArgument), v1::INVALID_FIELD);
  EXPECT_EQ(reason(absl::StatusCode::kResourceExhausted), v1::OVERLOADED);
  EXPECT_EQ(reason(absl::StatusCode::kCancelled), std::nullopt);
  EXPECT_EQ(reason(absl::StatusCode::kDeadlineExceeded), std::nullopt);
}

TEST(ErrorTest, InvalidFieldNamesTheFieldThreeTimes) {
  const absl::Status status = InvalidField("page_size", "must be at least 0");
  EXPECT_EQ(status.message(), "page_size: must be at least 0");
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  const google::rpc::Status details = Details(ToGrpc(status));
  ASSERT_EQ(details.details_size(), 2);
  google::rpc::BadRequest request;
  ASSERT_TRUE(details.details(1).UnpackTo(&request));
  EXPECT_EQ(request.field_violations(0).field(), "page_size");
}

TEST(ErrorTest, SeveralViolationsShareOneBadRequest) {
  absl::Status status = InvalidField("a", "one");
  status = WithFieldViolation(status, "b", "two");
  google::rpc::BadRequest request;
  ASSERT_TRUE(Details(ToGrpc(status)).details(1).UnpackTo(&request));
  ASSERT_EQ(request.field_violations_size(), 2);
  EXPECT_EQ(request.field_violations(1).description(), "two");
}

TEST(ErrorTest, LongErrorsAreCutToWhatAHeaderHolds) {
  const absl::Status status =
      WithFieldViolation(Error(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
                               std::string(1023, 'x') + "\u00e9" + std::string(9000, 'x')),
                         "f", std::string(9000, 'y'));
  const grpc::Status wire = ToGrpc(status);
  EXPECT_EQ(wire.error_message(), std::string(1023, 'x'));  // not half of a character
  EXPECT_LT(wire.error_details().size(), 6000u);
  EXPECT_EQ(ReasonOf(FromGrpc(wire)), v1::INVALID_FIELD);
}

TEST(ErrorTest, AForeignOrBrokenDetailIsNoReason) {
  EXPECT_EQ(ReasonOf(absl::InternalError("plain")), std::nullopt);
  absl::Status foreign = absl::InternalError("theirs");
  google::rpc::ErrorInfo info;
  info.set_reason("OVERLOADED");
  info.set_domain("example.com");
  foreign.SetPayload("type.googleapis.com/google.rpc.ErrorInfo",
                     absl::Cord(info.SerializeAsString()));
  EXPECT_EQ(ReasonOf(foreign), std::nullopt);
  const absl::Status broken =
      FromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "gone", "\xff\xff\xff"));
  EXPECT_THAT(broken, StatusIs(absl::StatusCode::kNotFound, HasSubstr("gone")));
}

TEST(ErrorTest, ANegativeDelayIsNoDelay) {
  EXPECT_EQ(RetryDelayOf(WithRetryDelay(absl::UnavailableError(""), absl::Seconds(-3))),
            absl::ZeroDuration());
}

TEST(ErrorTest, AMessageThatQuotesBytesIsUtf8OnTheWire) {
  const auto sent = [](const std::string& message) {
    return std::string(FromGrpc(ToGrpc(absl::InvalidArgumentError(message))).message());
  };
  EXPECT_EQ(sent("plain, \u00e9, \u20ac, \U0001f600"), "plain, \u00e9, \u20ac, \U0001f600");
  EXPECT_EQ(sent("a\xff"
                 "b\xc3"),
            "a?b?");
  EXPECT_EQ(sent("\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82"), "?? ??? ???? ??");
}

}  // namespace
}  // namespace weir::rpc
