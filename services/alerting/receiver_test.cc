#include "services/alerting/receiver.h"

#include <string>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir::alerting {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'763'380'800);  // Mon, 17 Nov 2025 12:00:00 GMT

Delivery Read(int status, ReceiverKind kind = ReceiverKind::kWebhook, int alert_count = 1) {
  return ReadHttpAnswer({.status = status, .alert_count = alert_count}, kind, kNow).delivery;
}

TEST(HttpAnswer, SuccessIsReceivedAndRedirectsAreRefused) {
  for (const int status : {200, 201, 202, 204, 299}) EXPECT_EQ(Read(status), Delivery::kReceived);
  for (const int status : {301, 302, 303, 307, 308}) EXPECT_EQ(Read(status), Delivery::kRefused);
}

TEST(HttpAnswer, WhatMayPassIsTriedAgainAndOtherErrorsOfOursAreNot) {
  for (const int status : {408, 425, 429, 500, 501, 502, 503, 504, 599}) {
    EXPECT_EQ(Read(status), Delivery::kFailed) << status;
  }
  for (const int status : {400, 401, 403, 404, 405, 410, 413, 415, 422, 451}) {
    EXPECT_EQ(Read(status), Delivery::kRefused) << status;
  }
  for (const int status : {0, 100, 600}) EXPECT_EQ(Read(status), Delivery::kRefused) << status;
}

TEST(HttpAnswer, AnAlertmanagersBadRequestOfManyKeepsTheValidOnes) {
  EXPECT_EQ(Read(400, ReceiverKind::kAlertmanager, 2), Delivery::kRefusedInPart);
  EXPECT_EQ(Read(400, ReceiverKind::kAlertmanager, 1), Delivery::kRefused);
  EXPECT_EQ(Read(400, ReceiverKind::kWebhook, 2), Delivery::kRefused);
  EXPECT_EQ(Read(404, ReceiverKind::kAlertmanager, 2), Delivery::kRefused);
}

TEST(HttpAnswer, SaysWhatWasSaidInOneBoundedLine) {
  const Outcome outcome =
      ReadHttpAnswer({.status = 400, .body = "bad\r\nlabel \x01" + std::string(9999, 'x')},
                     ReceiverKind::kWebhook, kNow);
  EXPECT_THAT(outcome.error, HasSubstr("HTTP 400: bad  label  xxx"));
  EXPECT_LT(outcome.error.size(), 256u);
  EXPECT_EQ(ReadHttpAnswer({.status = 500}, ReceiverKind::kWebhook, kNow).error, "HTTP 500");
}

TEST(RetryAfter, IsSecondsOrADateAndOfNothingElse) {
  EXPECT_EQ(ParseRetryAfter("120", kNow), absl::Seconds(120));
  EXPECT_EQ(ParseRetryAfter(" 0 ", kNow), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("Mon, 17 Nov 2025 12:01:30 GMT", kNow), absl::Seconds(90));
  EXPECT_EQ(ParseRetryAfter("Mon, 17 Nov 2025 11:00:00 GMT", kNow), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("99999999999999999999999", kNow), absl::InfiniteDuration());
  for (const char* text : {"", " ", "-5", "1.5", "soon", "12s", "infinite-future"}) {
    EXPECT_EQ(ParseRetryAfter(text, kNow), std::nullopt) << text;
  }
  EXPECT_EQ(
      ReadHttpAnswer({.status = 503, .retry_after = "7"}, ReceiverKind::kWebhook, kNow).retry_after,
      absl::Seconds(7));
  EXPECT_EQ(
      ReadHttpAnswer({.status = 404, .retry_after = "7"}, ReceiverKind::kWebhook, kNow).retry_after,
      absl::ZeroDuration());
}

TEST(SmtpReply, FiveIsForGoodAndFourIsForNow) {
  EXPECT_EQ(ReadSmtpReply(250, "OK").delivery, Delivery::kReceived);
  EXPECT_EQ(ReadSmtpReply(451, "greylisted").delivery, Delivery::kFailed);
  EXPECT_EQ(ReadSmtpReply(421, "busy").delivery, Delivery::kFailed);
  EXPECT_EQ(ReadSmtpReply(550, "no such user").delivery, Delivery::kRefused);
  EXPECT_EQ(ReadSmtpReply(0, "").delivery, Delivery::kFailed);
  EXPECT_EQ(NoAnswer("connection refused").delivery, Delivery::kFailed);
}

TEST(ReceiverSettings, AreRefusedWithTheNameOfWhatIsWrong) {
  Receiver receiver;
  receiver.name = "hook";
  EXPECT_THAT(receiver.Validate(), IsOk());
  receiver.kind = ReceiverKind::kAlertmanager;
  EXPECT_THAT(receiver.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'hook': resend_interval")));
  receiver.resend_interval = absl::Minutes(1);
  EXPECT_THAT(receiver.Validate(), IsOk());
  receiver.skips_resolved = true;
  EXPECT_THAT(receiver.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("skips_resolved")));
  Receiver mail;
  mail.name = "mail";
  mail.kind = ReceiverKind::kEmail;
  EXPECT_THAT(mail.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("email_from")));
  Receiver backwards;
  backwards.name = "b";
  backwards.max_backoff = absl::Milliseconds(1);
  EXPECT_THAT(backwards.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_backoff")));
}

}  // namespace
}  // namespace weir::alerting
