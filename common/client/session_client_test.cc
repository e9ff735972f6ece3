#include "common/client/session_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

namespace weir::client {
namespace {

using Action = SessionClient::Action;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

class SessionClientTest : public ::testing::Test {
 protected:
  SessionClientOptions Options() {
    SessionClientOptions options;
    options.max_in_flight_batches = 4;
    options.draw_id = [this] { return SessionId{.high = 7, .low = ++drawn_}; };
    return options;
  }

  // Connects, and opens the session at `last_sequence`.
  void Open(int64_t last_sequence) {
    now_ += absl::Minutes(1);
    ASSERT_EQ(Next().kind, Action::kConnect);
    session_.OnConnected(now_);
    ASSERT_EQ(Next().kind, Action::kOpen);
    session_.OnOpened(last_sequence, now_);
  }

  // Opens a new session, whose empty first batch is acknowledged.
  void Begin() {
    Open(0);
    ASSERT_THAT(Send(), ::testing::ElementsAre(1));
    ASSERT_EQ(session_.OnAcked(1, now_), 1);
  }

  Action Next(bool ready = true) { return session_.Next(now_, ready); }

  // The sequences sent until there is nothing more to send.
  std::vector<int64_t> Send(bool ready = true) {
    std::vector<int64_t> sent;
    for (Action action = Next(ready); action.kind == Action::kSend; action = Next(ready)) {
      sent.push_back(action.sequence);
    }
    return sent;
  }

  uint64_t drawn_ = 0;
  absl::Time now_ = kStart;
  SessionClient session_{Options()};
};

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(SessionClientTest, ASessionBeginsWithOneBatchAloneOnceThereIsSomethingToSend) {
  Open(0);
  EXPECT_THAT(Send(false), IsEmpty());
  EXPECT_THAT(Send(), ElementsAre(1));
  EXPECT_EQ(session_.OnAcked(1, now_), 1);
  EXPECT_THAT(Send(), ElementsAre(2, 3, 4, 5));
}

TEST_F(SessionClientTest, NoMoreBatchesThanAllowedAreInFlight) {
  Begin();
  EXPECT_THAT(Send(), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(session_.OnAcked(3, now_), 2);
  EXPECT_THAT(Send(), ElementsAre(6, 7));
  EXPECT_EQ(session_.outstanding_count(), 4);
}

TEST_F(SessionClientTest, WhatWasNotAcknowledgedIsSentAgainInTheSameSession) {
  Begin();
  Send();
  EXPECT_EQ(session_.OnAcked(2, now_), 1);
  const SessionId id = session_.session_id();
  session_.OnClosed({}, now_);
  Open(4);  // 3 and 4 are known there; their acknowledgements were lost
  EXPECT_EQ(session_.session_id(), id);
  EXPECT_EQ(session_.TakeUndefinedFrom(), 1);
  EXPECT_THAT(Send(false), ElementsAre(3, 4, 5));
  EXPECT_EQ(session_.OnAcked(5, now_), 3);
}

TEST_F(SessionClientTest, ARewindGoesBackAfterItsDelayAndNeverForward) {
  Begin();
  Send();
  session_.TakeUndefinedFrom();
  session_.OnRewind(3, absl::Milliseconds(200), now_);
  session_.OnRewind(4, absl::Milliseconds(200), now_);
  EXPECT_EQ(session_.TakeUndefinedFrom(), 3);
  EXPECT_EQ(Next().until, now_ + absl::Milliseconds(200));
  now_ += absl::Milliseconds(200);
  EXPECT_THAT(Send(false), ElementsAre(3, 4, 5));
  EXPECT_EQ(session_.rewind_count(), 2);
}

TEST_F(SessionClientTest, ReconnectDelaysDoubleUntilSomethingIsAcknowledged) {
  const SessionClientOptions options = Options();
  absl::Duration expected = options.min_reconnect_delay;
  for (int attempt = 0; attempt < 12; ++attempt) {
    ASSERT_EQ(Next().kind, Action::kConnect);
    session_.OnClosed({}, now_);
    const absl::Time until = Next().until;
    EXPECT_GE(until - now_, expected / 2);
    EXPECT_LE(until - now_, expected);
    expected = std::min(expected * 2, options.max_reconnect_delay);
    now_ = until;
  }
  Begin();
  session_.OnClosed({}, now_);
  EXPECT_LE(Next().until - now_, options.min_reconnect_delay);
}

TEST_F(SessionClientTest, AServerThatSaysWhenIsObeyed) {
  ASSERT_EQ(Next().kind, Action::kConnect);
  session_.OnClosed({.retry_delay = absl::Seconds(1)}, now_);
  EXPECT_EQ(Next().until, now_ + absl::Seconds(1));
}

TEST_F(SessionClientTest, AStepOfTheWallClockDoesNotMakeItWaitForHours) {
  ASSERT_EQ(Next().kind, Action::kConnect);
  session_.OnClosed({}, now_);
  now_ -= absl::Hours(5);
  EXPECT_EQ(Next().kind, Action::kConnect);
}

TEST_F(SessionClientTest, AnUnknownSessionIsGivenUpAndFollowedByANewOne) {
  Begin();
  Send();
  const SessionId id = session_.session_id();
  session_.OnClosed({}, now_);
  now_ += absl::Minutes(1);
  ASSERT_EQ(Next().kind, Action::kConnect);
  session_.OnConnected(now_);
  ASSERT_EQ(Next().kind, Action::kOpen);
  session_.OnClosed({.cause = StreamEnd::kSessionUnknown}, now_);
  EXPECT_EQ(Next().kind, Action::kGiveUp);
  EXPECT_EQ(session_.outstanding_count(), 0);
  EXPECT_NE(session_.session_id(), id);
  Begin();
  EXPECT_THAT(Send(), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(session_.session_count(), 2);
}

TEST_F(SessionClientTest, AnswersThatFitNothingEndTheSession) {
  const std::vector<std::function<void(SessionClient&)>> answers = {
      [&](SessionClient& s) { s.OnAcked(6, now_); },                 // never made
      [&](SessionClient& s) { s.OnRewind(1, std::nullopt, now_); },  // acknowledged
      [&](SessionClient& s) { s.OnRewind(7, std::nullopt, now_); },  // never made
      [&](SessionClient& s) { s.OnOpened(5, now_); },                // open already
      [&](SessionClient& s) { s.OnNonsense(); },
  };
  for (const auto& answer : answers) {
    Begin();
    Send();
    answer(session_);
    EXPECT_EQ(Next().kind, Action::kGiveUp);
    EXPECT_EQ(Next().kind, Action::kCancel);
    // What was still on its way is about the session before.
    EXPECT_EQ(session_.OnAcked(3, now_), 0);
    session_.OnClosed({}, now_);
  }
}

TEST_F(SessionClientTest, ASessionOpenedBehindWhatItAcknowledgedIsLost) {
  Begin();
  Send();
  session_.OnClosed({}, now_);
  Open(0);
  EXPECT_EQ(Next().kind, Action::kGiveUp);
  EXPECT_EQ(Next().kind, Action::kCancel);
}

TEST_F(SessionClientTest, TheCulpritOfARefusalIsFoundAndEmptied) {
  Begin();
  Send();  // 2 to 5, of which 3 is bad
  session_.OnClosed({.cause = StreamEnd::kRefused}, now_);
  Open(1);
  EXPECT_THAT(Send(), ElementsAre(2));
  session_.OnAcked(2, now_);
  EXPECT_THAT(Send(), ElementsAre(3));
  session_.OnClosed({.cause = StreamEnd::kRefused}, now_);
  const Action empty = Next();
  EXPECT_EQ(empty.kind, Action::kEmpty);
  EXPECT_EQ(empty.sequence, 3);
  Open(2);
  EXPECT_THAT(Send(), ElementsAre(3));
  session_.OnAcked(3, now_);
  EXPECT_THAT(Send(), ElementsAre(4));
  session_.OnAcked(4, now_);
  EXPECT_THAT(Send(), ElementsAre(5));
  session_.OnAcked(5, now_);
  EXPECT_THAT(Send(), ElementsAre(6, 7, 8, 9));
}

TEST_F(SessionClientTest, ABatchSentBeforeARewindIsASuspectToo) {
  Begin();
  Send();  // 2 to 5, of which 5 is bad
  session_.OnRewind(2, std::nullopt, now_);
  EXPECT_EQ(Next().sequence, 2);
  session_.OnClosed({.cause = StreamEnd::kRefused}, now_);
  Open(1);
  EXPECT_THAT(Send(), ElementsAre(2));
}

TEST_F(SessionClientTest, ARefusalBeforeAnyBatchIsRetried) {
  Begin();
  Send();
  session_.OnClosed({}, now_);
  for (int attempt = 0; attempt < 20; ++attempt) {
    now_ += absl::Minutes(1);
    ASSERT_EQ(Next().kind, Action::kConnect);
    session_.OnClosed({.cause = StreamEnd::kRefused}, now_);
  }
  Open(5);
  EXPECT_THAT(Send(), ElementsAre(2, 3, 4, 5));
}

TEST_F(SessionClientTest, AnIdleSessionIsRenewedBeforeItIsUsed) {
  Begin();
  Send();
  session_.OnAcked(5, now_);
  now_ += absl::Hours(30);
  EXPECT_EQ(Next(false).kind, Action::kWait);
  EXPECT_EQ(Next(true).kind, Action::kCancel);
  session_.OnClosed({}, now_);
  Begin();
  EXPECT_EQ(drawn_, 2u);
  EXPECT_THAT(Send(), ElementsAre(2, 3, 4, 5));
}

TEST_F(SessionClientTest, ASessionWithBatchesOutstandingIsNeverRenewed) {
  Begin();
  Send();
  session_.OnClosed({}, now_);
  now_ += absl::Hours(30);
  Open(1);
  EXPECT_EQ(drawn_, 1u);
  EXPECT_THAT(Send(), ElementsAre(2, 3, 4, 5));
}

TEST_F(SessionClientTest, AServerThatDoesNotAnswerIsLeft) {
  ASSERT_EQ(Next().kind, Action::kConnect);
  session_.OnConnected(now_);
  ASSERT_EQ(Next().kind, Action::kOpen);
  now_ = Next().until;
  EXPECT_EQ(Next().kind, Action::kCancel);
  session_.OnClosed({}, now_);
  EXPECT_LT(Next().until, absl::InfiniteFuture());
}

}  // namespace
}  // namespace weir::client
