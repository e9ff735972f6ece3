#include "services/alerting/outbox.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/base/random.h"
#include "common/base/strings.h"
#include "common/testing/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir::alerting {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::Time At(double seconds) {
  return absl::FromUnixSeconds(1'763'380'800) + absl::Seconds(seconds);
}
AlertId Id(uint64_t n) { return {.high = n, .low = 7}; }

Receiver Hook() {
  Receiver receiver;
  receiver.name = "hook";
  return receiver;
}

Receiver Alertmanager(std::string name = "am-1") {
  Receiver receiver;
  receiver.name = std::move(name);
  receiver.kind = ReceiverKind::kAlertmanager;
  receiver.resend_interval = absl::Minutes(1);
  receiver.resolved_resend_duration = absl::Minutes(5);
  return receiver;
}

Addition Tell(NoticeKind kind, std::string receiver, int64_t incarnation = 1, uint64_t alert = 1) {
  return {.alert_id = Id(alert),
          .incarnation = incarnation,
          .kind = kind,
          .receiver = std::move(receiver),
          .payload = StrCat(NoticeKindName(kind), " of ", incarnation)};
}

const Outcome kReceived = {};
const Outcome kFailed = {.delivery = Delivery::kFailed, .error = "HTTP 503"};
const Outcome kRefused = {.delivery = Delivery::kRefused, .error = "HTTP 404"};

// An outbox whose plans are committed at once, to `rows`.
class OutboxTest : public ::testing::Test {
 protected:
  void Commit(const Outbox::Plan& plan) {
    for (const Notification& row : plan.rows) rows_.insert_or_assign(row.key, row);
    outbox_.Apply(plan);
  }
  void Add(std::vector<Addition> additions, double seconds) {
    Commit(outbox_.Add(additions, At(seconds)));
  }
  // "firing of 1", ... of what is due.
  std::vector<std::string> Due(double seconds) {
    std::vector<std::string> due;
    for (const Notification& row : outbox_.Due(At(seconds), 100)) {
      due.push_back(row.payload);
      sent_.push_back(row.key);
    }
    return due;
  }
  // The result of the oldest send that has none.
  void Answer(const Outcome& outcome, double seconds, double jitter = 1) {
    ASSERT_FALSE(sent_.empty());
    Commit(outbox_.OnResult(sent_.front(), outcome, At(seconds), jitter));
    sent_.erase(sent_.begin());
  }
  const Notification& Row(NoticeKind kind, const std::string& receiver, int64_t incarnation = 1) {
    return rows_.at(NotificationKey(Id(1), incarnation, kind, receiver));
  }
  double NextDue() { return absl::ToDoubleSeconds(outbox_.NextDue() - At(0)); }

  Outbox outbox_{{Hook(), Alertmanager(), Alertmanager("am-2")}};
  std::map<std::string, Notification> rows_;
  std::vector<std::string> sent_;
};

TEST_F(OutboxTest, AWebhookIsToldOnceOfEachTransition) {
  Add({Tell(NoticeKind::kFiring, "hook")}, 0);
  EXPECT_THAT(Due(0), ElementsAre("firing of 1"));
  EXPECT_THAT(Due(999), IsEmpty()) << "it is under way";
  Answer(kReceived, 1);
  EXPECT_EQ(outbox_.NextDue(), absl::InfiniteFuture());
  EXPECT_EQ(Row(NoticeKind::kFiring, "hook").status, NotificationStatus::kDone);
  EXPECT_EQ(Row(NoticeKind::kFiring, "hook").received_at, At(1));
  Add({Tell(NoticeKind::kResolved, "hook")}, 60);
  EXPECT_THAT(Due(60), ElementsAre("resolved of 1"));
  Answer(kReceived, 61);
  EXPECT_EQ(outbox_.size(), 0u);
  EXPECT_EQ(outbox_.NextDue(), absl::InfiniteFuture());
}

TEST_F(OutboxTest, AnAlertmanagerIsToldEveryIntervalAndOfTheEndForFiveMinutes) {
  Add({Tell(NoticeKind::kFiring, "am-1")}, 0);
  for (int minute = 0; minute < 100; ++minute) {
    EXPECT_THAT(Due(minute * 60 - 1), IsEmpty());
    ASSERT_THAT(Due(minute * 60), ElementsAre("firing of 1"));
    Answer(kReceived, minute * 60);
  }
  Add({Tell(NoticeKind::kResolved, "am-1")}, 5999);
  int resolved_count = 0;
  double last = 0;
  for (int second = 5999; second < 10'000; ++second) {
    for (const std::string& sent : Due(second)) {
      EXPECT_EQ(sent, "resolved of 1");
      Answer(kReceived, second);
      ++resolved_count;
      last = second;
    }
  }
  EXPECT_EQ(resolved_count, 6);
  EXPECT_EQ(last, 5999 + 300);
  EXPECT_EQ(outbox_.size(), 0u);
}

TEST_F(OutboxTest, EveryPeerHasItsOwnQueue) {
  Add({Tell(NoticeKind::kFiring, "am-1"), Tell(NoticeKind::kFiring, "am-2")}, 0);
  EXPECT_EQ(Due(0).size(), 2u);
  Answer(kFailed, 0);
  Answer(kReceived, 0);
  Add({Tell(NoticeKind::kResolved, "am-1"), Tell(NoticeKind::kResolved, "am-2")}, 1);
  const std::vector<Notification> due = outbox_.Due(At(2), 10);
  ASSERT_EQ(due.size(), 2u);
  std::map<std::string, NoticeKind> sent;
  for (const Notification& row : due) sent[row.receiver] = row.kind;
  EXPECT_EQ(sent["am-1"], NoticeKind::kFiring) << "not received yet";
  EXPECT_EQ(sent["am-2"], NoticeKind::kResolved);
}

TEST_F(OutboxTest, WaitsDoubleUpToTheCapLessTheirJitter) {
  Add({Tell(NoticeKind::kFiring, "hook")}, 0);
  double now = 0;
  for (const double wait : {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}) {
    ASSERT_EQ(Due(now).size(), 1u);
    Answer(kFailed, now, 1);
    EXPECT_EQ(NextDue(), now + wait);
    now += wait;
  }
  ASSERT_EQ(Due(now).size(), 1u);
  Answer(kFailed, now, 0);
  EXPECT_EQ(NextDue(), now + 150);
  EXPECT_EQ(Row(NoticeKind::kFiring, "hook").error, "HTTP 503");
  EXPECT_EQ(Row(NoticeKind::kFiring, "hook").failure_count, 12);
}

TEST_F(OutboxTest, NoWaitOfAResentReceiverIsLongerThanItsInterval) {
  Add({Tell(NoticeKind::kFiring, "am-1")}, 0);
  double now = 0;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(Due(now).size(), 1u);
    Answer(kFailed, now);
    EXPECT_LE(NextDue() - now, 60);
    now = NextDue();
  }
}

TEST_F(OutboxTest, RetryAfterIsHonouredWithinBounds) {
  Add({Tell(NoticeKind::kFiring, "hook")}, 0);
  Due(0);
  Answer({.delivery = Delivery::kFailed, .retry_after = absl::Seconds(90)}, 0);
  EXPECT_EQ(NextDue(), 90);
  Due(90);
  Answer({.delivery = Delivery::kFailed, .retry_after = absl::InfiniteDuration()}, 90);
  EXPECT_EQ(NextDue(), 90 + 3600);
  Due(5000);
  Answer({.delivery = Delivery::kFailed, .retry_after = absl::Seconds(1)}, 5000);
  EXPECT_EQ(NextDue(), 5004) << "the back-off is longer";
}

TEST_F(OutboxTest, WhatIsRefusedIsADeadLetterAndTheNextIsTold) {
  Add({Tell(NoticeKind::kFiring, "hook")}, 0);
  Add({Tell(NoticeKind::kResolved, "hook")}, 10);
  EXPECT_THAT(Due(10), ElementsAre("firing of 1"));
  Answer(kRefused, 11);
  const Notification& dead = Row(NoticeKind::kFiring, "hook");
  EXPECT_EQ(dead.status, NotificationStatus::kDead);
  EXPECT_EQ(dead.error, "HTTP 404");
  EXPECT_EQ(dead.payload, "firing of 1");
  EXPECT_THAT(Due(11), ElementsAre("resolved of 1"));
}

TEST_F(OutboxTest, WhatIsTooOldIsADeadLetterButNotUntried) {
  Add({Tell(NoticeKind::kFiring, "hook")}, 0);
  // Nobody ran for two days.
  ASSERT_THAT(Due(2 * 86'400), ElementsAre("firing of 1"));
  Answer(kFailed, 2 * 86'400);
  EXPECT_EQ(Row(NoticeKind::kFiring, "hook").status, NotificationStatus::kDead);
  EXPECT_THAT(Row(NoticeKind::kFiring, "hook").error, HasSubstr("too old; last: HTTP 503"));
  EXPECT_EQ(outbox_.size(), 0u);
}

TEST_F(OutboxTest, AResendThatFailsOrIsRefusedIsTriedAgainAtAnyAge) {
  Add({Tell(NoticeKind::kFiring, "am-1")}, 0);
  Due(0);
  Answer(kReceived, 0);
  double now = 0;
  for (int i = 0; i < 3000; ++i) {
    now = NextDue();
    ASSERT_EQ(Due(now).size(), 1u);
    Answer(i % 2 == 0 ? kFailed : kRefused, now);
    ASSERT_LE(NextDue() - now, 60);
  }
  EXPECT_GT(now, 86'400);
  EXPECT_EQ(Row(NoticeKind::kFiring, "am-1").status, NotificationStatus::kRepeating);
}

TEST_F(OutboxTest, ResendsOfAnEndThatFailAreOverInTimeToo) {
  Add({Tell(NoticeKind::kResolved, "am-1")}, 0);
  Due(0);
  Answer(kReceived, 0);
  double last = 0;
  while (outbox_.NextDue() < absl::InfiniteFuture()) {
    last = NextDue();
    ASSERT_LE(last, 300);
    ASSERT_EQ(Due(last).size(), 1u);
    Answer(kFailed, last);
  }
  EXPECT_GT(last, 200);
  EXPECT_EQ(Row(NoticeKind::kResolved, "am-1").status, NotificationStatus::kDone);
}

TEST_F(OutboxTest, NothingOvertakesASendThatIsUnderWay) {
  Add({Tell(NoticeKind::kFiring, "am-1")}, 0);
  Due(0);
  Answer(kReceived, 0);
  ASSERT_THAT(Due(60), ElementsAre("firing of 1"));
  Add({Tell(NoticeKind::kResolved, "am-1")}, 61);
  EXPECT_EQ(Row(NoticeKind::kFiring, "am-1").status, NotificationStatus::kDone);
  EXPECT_THAT(Due(62), IsEmpty()) << "the firing could arrive after it";
  Answer(kFailed, 63);
  EXPECT_EQ(Row(NoticeKind::kFiring, "am-1").status, NotificationStatus::kDone);
  EXPECT_THAT(Due(63), ElementsAre("resolved of 1"));
}

TEST_F(OutboxTest, ANewEpisodeEndsTheResendsOfTheOldOne) {
  Add({Tell(NoticeKind::kResolved, "am-1", 1)}, 0);
  Due(0);
  Answer(kReceived, 0);
  Add({Tell(NoticeKind::kFiring, "am-1", 2)}, 30);
  EXPECT_THAT(Due(30), ElementsAre("firing of 2"));
  Answer(kReceived, 30);
  EXPECT_THAT(Due(60), IsEmpty());
  EXPECT_THAT(Due(90), ElementsAre("firing of 2"));
}

TEST_F(OutboxTest, AddingAgainWhatIsThereOrOlderChangesNothing) {
  Add({Tell(NoticeKind::kFiring, "am-1", 2)}, 0);
  EXPECT_THAT(outbox_.Add({Tell(NoticeKind::kFiring, "am-1", 2)}, At(5)).rows, IsEmpty());
  EXPECT_THAT(outbox_.Add({Tell(NoticeKind::kResolved, "am-1", 1)}, At(5)).rows, IsEmpty());
  EXPECT_EQ(rows_.size(), 1u);
}

TEST_F(OutboxTest, ADeadLetterThatIsAddedAgainIsTriedAgainUnderItsKey) {
  Add({Tell(NoticeKind::kFiring, "hook", 2)}, 0);
  Due(0);
  Answer(kRefused, 0);
  EXPECT_EQ(outbox_.size(), 0u);
  Add({Tell(NoticeKind::kFiring, "hook", 2)}, 10);
  EXPECT_EQ(rows_.size(), 1u);
  EXPECT_THAT(Due(10), ElementsAre("firing of 2"));
}

TEST_F(OutboxTest, WhatStillFiresIsNeverADeadLetterOfAResentReceiver) {
  Add({Tell(NoticeKind::kFiring, "am-1")}, 0);
  double now = 0;
  while (now < 3 * 86'400) {
    ASSERT_EQ(Due(now).size(), 1u);
    Answer(static_cast<int64_t>(now) % 2 == 0 ? kRefused : kFailed, now);
    ASSERT_LE(NextDue() - now, 60);
    now = NextDue() + 1;
  }
  EXPECT_EQ(Row(NoticeKind::kFiring, "am-1").status, NotificationStatus::kWaiting);
  // Overtaken, it is like any other.
  Add({Tell(NoticeKind::kResolved, "am-1")}, now);
  EXPECT_THAT(Due(now), ElementsAre("firing of 1"));
  Answer(kFailed, now);
  EXPECT_EQ(Row(NoticeKind::kFiring, "am-1").status, NotificationStatus::kDead);
  EXPECT_THAT(Due(now), ElementsAre("resolved of 1"));
  Answer(kRefused, now);
  EXPECT_EQ(Row(NoticeKind::kResolved, "am-1").status, NotificationStatus::kDead);
  EXPECT_EQ(outbox_.size(), 0u);
}

TEST_F(OutboxTest, AQueueIsBoundedAndItsOldestGiveWay) {
  for (int64_t episode = 1; episode <= 150; ++episode) {
    Add({Tell(NoticeKind::kFiring, "hook", episode)}, static_cast<double>(episode));
  }
  EXPECT_EQ(outbox_.size(), 100u);
  EXPECT_EQ(Row(NoticeKind::kFiring, "hook", 50).status, NotificationStatus::kDead);
  EXPECT_THAT(Row(NoticeKind::kFiring, "hook", 50).error, HasSubstr("too many wait"));
  EXPECT_THAT(Due(999), ElementsAre("firing of 51"));
}

TEST_F(OutboxTest, APlanThatIsNotAppliedHasNoEffect) {
  outbox_.Add({Tell(NoticeKind::kFiring, "hook")}, At(0));
  EXPECT_THAT(Due(0), IsEmpty());
  Add({Tell(NoticeKind::kFiring, "hook")}, 0);
  Due(0);
  outbox_.OnResult(sent_.front(), kReceived, At(1), 0);
  EXPECT_THAT(Due(999), IsEmpty()) << "its result is not known yet";
  Answer(kReceived, 1);
  EXPECT_EQ(outbox_.size(), 0u);
  EXPECT_THAT(outbox_.OnResult("unknown", kReceived, At(1), 0).rows, IsEmpty());
}

TEST_F(OutboxTest, WhatWaitsForAReceiverThatIsNoMoreIsADeadLetter) {
  Add({Tell(NoticeKind::kFiring, "hook"), Tell(NoticeKind::kFiring, "am-1")}, 0);
  std::vector<Notification> rows;
  for (const auto& [key, row] : rows_) rows.push_back(row);
  Outbox without({Alertmanager()});
  const Outbox::Plan plan = without.Load(rows);
  ASSERT_EQ(plan.rows.size(), 1u);
  EXPECT_EQ(plan.rows[0].receiver, "hook");
  EXPECT_EQ(plan.rows[0].status, NotificationStatus::kDead);
  without.Apply(plan);
  EXPECT_EQ(without.size(), 1u);
}

TEST_F(OutboxTest, DueTakesTheLongestDueFirstAndNoMoreThanAsked) {
  for (uint64_t alert = 1; alert <= 9; ++alert) {
    Add({Tell(NoticeKind::kFiring, "hook", 1, 10 - alert)}, static_cast<double>(alert));
  }
  const std::vector<Notification> first = outbox_.Due(At(100), 4);
  ASSERT_EQ(first.size(), 4u);
  EXPECT_EQ(first[0].alert_id, Id(9));
  EXPECT_EQ(first[3].alert_id, Id(6));
  EXPECT_EQ(outbox_.Due(At(100), 100).size(), 5u);
}

TEST(NotificationKey, IsOfEpisodeKindAndReceiverAndNeverChanges) {
  EXPECT_EQ(NotificationKey(Id(1), 1, NoticeKind::kFiring, "hook"),
            "964e3fba269cece12e82b535720a7b4f");
  std::set<std::string> keys;
  for (uint64_t alert = 0; alert < 5; ++alert) {
    for (int64_t incarnation = 0; incarnation < 20; ++incarnation) {
      for (const NoticeKind kind :
           {NoticeKind::kFiring, NoticeKind::kAcknowledged, NoticeKind::kResolved}) {
        for (const char* receiver : {"a", "b", "1/a"}) {
          keys.insert(NotificationKey(Id(alert), incarnation, kind, receiver));
        }
      }
    }
  }
  EXPECT_EQ(keys.size(), 5u * 20 * 3 * 3);
}

// ---- Crashes, lost answers and receivers of every mood ----

// A row as a store keeps it: text, with times in microseconds.
std::string Serialise(const Notification& row) {
  const auto micros = [](absl::Time time) {
    return time == absl::InfiniteFuture() ? std::string("never")
                                          : std::to_string(absl::ToUnixMicros(time));
  };
  return StrCat(row.key, "|", row.alert_id.ToHex(), "|", row.incarnation, "|",
                static_cast<int>(row.kind), "|", row.receiver, "|", row.payload, "|",
                static_cast<int>(row.status), "|", micros(row.created), "|", micros(row.due), "|",
                row.received_at ? micros(*row.received_at) : "", "|", row.received_count, "|",
                row.failure_count, "|", row.error);
}

Notification Deserialise(const std::string& text) {
  const std::vector<std::string> fields = absl::StrSplit(text, '|');
  const auto time = [](const std::string& micros) {
    return micros == "never" ? absl::InfiniteFuture() : absl::FromUnixMicros(std::stoll(micros));
  };
  Notification row;
  row.key = fields.at(0);
  row.alert_id = *AlertId::FromHex(fields.at(1));
  row.incarnation = std::stoll(fields.at(2));
  row.kind = static_cast<NoticeKind>(std::stoi(fields.at(3)));
  row.receiver = fields.at(4);
  row.payload = fields.at(5);
  row.status = static_cast<NotificationStatus>(std::stoi(fields.at(6)));
  row.created = time(fields.at(7));
  row.due = time(fields.at(8));
  if (!fields.at(9).empty()) row.received_at = time(fields.at(9));
  row.received_count = std::stoll(fields.at(10));
  row.failure_count = std::stoll(fields.at(11));
  row.error = fields.at(12);
  return row;
}

// A process that crashes, a store that does not, and receivers that write down
// what they were sent.
class World {
 public:
  World(uint64_t seed, std::vector<Receiver> receivers)
      : random_(seed), receivers_(std::move(receivers)), outbox_(std::in_place, receivers_) {}

  void Run() {
    for (int step = 0; step < 400; ++step) {
      now_ += absl::Milliseconds(random_.Between(1, 20'000));
      switch (random_.Below(10)) {
        case 0:
          Transit();
          break;
        case 1:
          if (random_.OneIn(3)) Crash();
          break;
        default:
          SendOrAnswer();
      }
    }
    Settle();
    Judge();
  }

 private:
  struct Received {
    std::string key;
    int64_t incarnation;
    NoticeKind kind;
    absl::Time time;
  };

  // Some alert goes through its next transition.
  void Transit() {
    const uint64_t alert = random_.Below(3);
    int64_t& place = places_[alert];  // firing, acknowledged, resolved, firing, ...
    ++place;
    const int64_t incarnation = (place - 1) / 3 + 1;
    const auto kind = static_cast<NoticeKind>((place - 1) % 3 + 1);
    std::vector<Addition> additions;
    for (const Receiver& receiver : receivers_) {
      if (kind == NoticeKind::kAcknowledged && !receiver.tells_acknowledged) continue;
      additions.push_back(Tell(kind, receiver.name, incarnation, alert));
    }
    const Outbox::Plan plan = outbox_->Add(additions, now_);
    // The crash may come before the commit: then it never happened.
    if (random_.OneIn(15)) {
      --place;
      return Crash();
    }
    Commit(plan);
    for (const Addition& addition : additions) {
      promised_.insert(NotificationKey(addition.alert_id, addition.incarnation, addition.kind,
                                       addition.receiver));
    }
  }

  void SendOrAnswer() {
    if (under_way_.empty() || random_.OneIn(2)) {
      for (Notification& row : outbox_->Due(now_, random_.Between(1, 4))) {
        under_way_.push_back(std::move(row));
      }
    }
    if (under_way_.empty()) return;
    std::swap(under_way_[random_.Below(under_way_.size())], under_way_.back());
    const Notification row = under_way_.back();
    under_way_.pop_back();
    const Outcome outcome = Arrive(row);
    const Outbox::Plan plan = outbox_->OnResult(row.key, outcome, now_, random_.Fraction());
    if (random_.OneIn(20)) return Crash();  // the receiver has it, the store does not know
    Commit(plan);
  }

  // What the receiver does with it.
  Outcome Arrive(const Notification& row) {
    const uint64_t mood = calm_ ? 99 : random_.Below(100);
    if (mood < 4) return kRefused;
    if (mood < 30) return kFailed;
    if (mood < 35) {
      return {.delivery = Delivery::kFailed,
              .retry_after = absl::Seconds(random_.Below(10'000)),
              .error = "HTTP 429"};
    }
    received_[{row.alert_id, row.receiver}].push_back({row.key, row.incarnation, row.kind, now_});
    // The answer may be lost.
    if (mood < 45) return kFailed;
    return kReceived;
  }

  void Commit(const Outbox::Plan& plan) {
    for (const Notification& row : plan.rows) store_[row.key] = Serialise(row);
    outbox_->Apply(plan);
  }

  void Crash() {
    // What was under way may still arrive before the process is back.
    for (const Notification& row : under_way_) {
      if (random_.OneIn(2)) Arrive(row);
    }
    under_way_.clear();
    std::vector<Notification> rows;
    for (const auto& [key, text] : store_) {
      rows.push_back(Deserialise(text));
      ASSERT_EQ(Serialise(rows.back()), text);
    }
    outbox_.emplace(receivers_);
    Commit(outbox_->Load(std::move(rows)));
  }

  // Every alert resolves, every receiver is well: sends must come to an end.
  void Settle() {
    calm_ = true;
    for (auto& [alert, place] : places_) {
      if (place % 3 == 0) continue;
      const int64_t incarnation = (place - 1) / 3 + 1;
      place = incarnation * 3;
      std::vector<Addition> additions;
      for (const Receiver& receiver : receivers_) {
        additions.push_back(Tell(NoticeKind::kResolved, receiver.name, incarnation, alert));
        promised_.insert(
            NotificationKey(Id(alert), incarnation, NoticeKind::kResolved, receiver.name));
      }
      Commit(outbox_->Add(additions, now_));
    }
    int round = 0;
    while (!under_way_.empty() || outbox_->NextDue() < absl::InfiniteFuture()) {
      ASSERT_LT(++round, 10'000) << "sends do not end";
      if (under_way_.empty()) now_ = std::max(now_, outbox_->NextDue());
      SendOrAnswer();
    }
  }

  void Judge() {
    std::set<std::string> received;
    for (const auto& [queue, list] : received_) {
      std::pair<int64_t, NoticeKind> furthest = {0, NoticeKind::kFiring};
      for (const Received& one : list) {
        const std::pair<int64_t, NoticeKind> place = {one.incarnation, one.kind};
        ASSERT_GE(place, furthest) << queue.second << " was told of the past";
        furthest = place;
        ASSERT_EQ(one.key, NotificationKey(queue.first, one.incarnation, one.kind, queue.second));
        received.insert(one.key);
      }
    }
    ASSERT_EQ(store_.size(), promised_.size());
    for (const std::string& key : promised_) {
      const Notification row = Deserialise(store_.at(key));
      ASSERT_TRUE(row.status == NotificationStatus::kDone ||
                  row.status == NotificationStatus::kDead);
      if (row.status == NotificationStatus::kDone) {
        ASSERT_TRUE(received.contains(key)) << "never sent: " << store_.at(key);
      } else {
        ASSERT_FALSE(row.error.empty());
      }
    }
  }

  Random random_;
  const std::vector<Receiver> receivers_;
  std::optional<Outbox> outbox_;
  absl::Time now_ = At(0);
  bool calm_ = false;
  std::map<std::string, std::string> store_;
  std::vector<Notification> under_way_;
  std::map<uint64_t, int64_t> places_;
  std::set<std::string> promised_;
  std::map<std::pair<AlertId, std::string>, std::vector<Received>> received_;
};

TEST(OutboxProperty, CrashesAndLostAnswersLoseNothingAndReorderNothing) {
  Random seeds(test::TestSeed());
  for (int round = 0; round < 400 && !::testing::Test::HasFailure(); ++round) {
    const uint64_t seed = seeds();
    SCOPED_TRACE(StrCat("round ", round));
    Receiver talkative = Hook();
    talkative.tells_acknowledged = true;
    Receiver brief = Hook();
    brief.name = "brief";
    brief.max_age = absl::Minutes(2);
    brief.max_waiting_count = 3;
    World(seed, {talkative, brief, Alertmanager()}).Run();
  }
}

}  // namespace
}  // namespace weir::alerting
