#include "services/alerting/lifecycle.h"

#include <algorithm>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/base/strings.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir::alerting {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

Rule TestRule() {
  Rule rule;
  rule.tenant = "acme";
  rule.id = "budgets/coder/warning";
  rule.alert_name = "BudgetOverrun";
  rule.type = AlertType::kBudgetOverrun;
  return rule;
}

absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(1'763'380'800 + seconds); }

Condition Is(Truth truth, double value = 0) {
  Condition condition;
  condition.truth = truth;
  condition.evidence.current_value = value;
  return condition;
}

// An alert, stepped through time.
class Lifecycle : public ::testing::Test {
 protected:
  // The state after evaluating `truth` at `seconds`.
  AlertState StepTo(int64_t seconds, Truth truth, double value = 0) {
    Keep(Step(rule_, alert_, Is(truth, value), At(seconds)));
    return alert_.state;
  }
  void Keep(Stepped stepped) {
    alert_ = std::move(stepped.alert);
    if (stepped.transition) transitions_.push_back(*stepped.transition);
  }
  std::string Path() const {
    std::string path;
    for (const Transition& transition : transitions_) {
      StrAppend(&path, path.empty() ? "" : " ", AlertStateName(transition.to));
    }
    return path;
  }

  Rule rule_ = TestRule();
  Alert alert_ = NewAlert(rule_, {{"budget", "coder"}});
  std::vector<Transition> transitions_;
};

TEST_F(Lifecycle, WithoutForAnAlertFiresAtTheFirstTrueAndResolvesAtTheFirstFalse) {
  EXPECT_EQ(StepTo(0, Truth::kFalse), AlertState::kInactive);
  EXPECT_EQ(StepTo(10, Truth::kTrue), AlertState::kFiring);
  EXPECT_EQ(alert_.fired_at, At(10));
  EXPECT_EQ(StepTo(20, Truth::kTrue), AlertState::kFiring);
  EXPECT_EQ(StepTo(30, Truth::kFalse), AlertState::kResolved);
  EXPECT_EQ(alert_.resolution->time, At(30));
  EXPECT_EQ(alert_.resolution->cause, ResolveCause::kCleared);
  EXPECT_EQ(Path(), "firing resolved");
}

TEST_F(Lifecycle, ForCountsFromTheFirstTrueAndStartsAgainAfterAFalse) {
  rule_.for_duration = absl::Seconds(30);
  EXPECT_EQ(StepTo(0, Truth::kTrue), AlertState::kPending);
  EXPECT_EQ(StepTo(20, Truth::kTrue), AlertState::kPending);
  EXPECT_EQ(StepTo(25, Truth::kFalse), AlertState::kInactive);
  EXPECT_EQ(StepTo(30, Truth::kTrue), AlertState::kPending);
  EXPECT_EQ(StepTo(59, Truth::kTrue), AlertState::kPending);
  EXPECT_EQ(StepTo(60, Truth::kTrue), AlertState::kFiring);
  EXPECT_EQ(alert_.pending_since, At(30));
  EXPECT_EQ(alert_.fired_at, At(60));
  EXPECT_EQ(alert_.incarnation, 1) << "a pending that never fired is no episode";
}

TEST_F(Lifecycle, KeepFiringCountsFromTheFirstFalseAndEndsWithATrue) {
  rule_.keep_firing_duration = absl::Seconds(30);
  StepTo(0, Truth::kTrue);
  EXPECT_EQ(StepTo(10, Truth::kFalse), AlertState::kFiring);
  EXPECT_EQ(StepTo(20, Truth::kTrue), AlertState::kFiring);
  EXPECT_EQ(StepTo(30, Truth::kFalse), AlertState::kFiring);
  EXPECT_EQ(StepTo(59, Truth::kFalse), AlertState::kFiring);
  EXPECT_EQ(StepTo(60, Truth::kFalse), AlertState::kResolved);
}

TEST_F(Lifecycle, NoDataMovesNothingButTheClocksRunOn) {
  rule_.for_duration = absl::Seconds(30);
  rule_.keep_firing_duration = absl::Seconds(30);
  EXPECT_EQ(StepTo(0, Truth::kNoData), AlertState::kInactive);
  EXPECT_EQ(StepTo(10, Truth::kTrue), AlertState::kPending);
  EXPECT_EQ(StepTo(40, Truth::kNoData), AlertState::kPending);
  EXPECT_EQ(StepTo(50, Truth::kTrue), AlertState::kFiring);
  EXPECT_EQ(StepTo(60, Truth::kFalse), AlertState::kFiring);
  EXPECT_EQ(StepTo(100, Truth::kNoData), AlertState::kFiring);
  EXPECT_EQ(StepTo(110, Truth::kFalse), AlertState::kResolved);
}

TEST_F(Lifecycle, ATimeThatWasSteppedChangesNothing) {
  StepTo(10, Truth::kTrue);
  const Alert before = alert_;
  EXPECT_EQ(StepTo(10, Truth::kFalse), AlertState::kFiring);
  EXPECT_EQ(StepTo(5, Truth::kFalse), AlertState::kFiring);
  EXPECT_EQ(alert_, before);
}

TEST_F(Lifecycle, AnEpisodeKeepsTheRuleItBeganWith) {
  StepTo(0, Truth::kTrue);
  rule_.severity = Severity::kCritical;
  StepTo(10, Truth::kTrue);
  EXPECT_EQ(alert_.severity, Severity::kWarning);
  StepTo(20, Truth::kFalse);
  StepTo(30, Truth::kTrue);
  EXPECT_EQ(alert_.severity, Severity::kCritical);
  EXPECT_EQ(alert_.incarnation, 2);
}

TEST_F(Lifecycle, EvidenceIsTheLastThatSpokeForTheAlertAndNoChangeToAnswer) {
  StepTo(0, Truth::kTrue, 24);
  const std::string etag = EtagOf(alert_);
  StepTo(10, Truth::kTrue, 25);
  EXPECT_EQ(alert_.evidence.current_value, 25);
  EXPECT_EQ(EtagOf(alert_), etag);
  StepTo(20, Truth::kFalse, 3);
  EXPECT_EQ(alert_.evidence.current_value, 25);
  EXPECT_EQ(transitions_.back().evidence.current_value, 3);
}

TEST_F(Lifecycle, AnAcknowledgedAlertStillResolvesAndForgetsWithTheNextEpisode) {
  StepTo(0, Truth::kTrue);
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped stepped,
                            Acknowledge(alert_, {.by = "ada", .comment = "on it"}, At(7)));
  Keep(stepped);
  EXPECT_EQ(alert_.state, AlertState::kAcknowledged);
  EXPECT_EQ(alert_.acknowledgement, (Acknowledgement{At(7), "ada", "on it"}));
  EXPECT_EQ(transitions_.back().by, "ada");
  EXPECT_EQ(StepTo(10, Truth::kTrue), AlertState::kAcknowledged);
  EXPECT_EQ(StepTo(20, Truth::kFalse), AlertState::kResolved);
  EXPECT_TRUE(alert_.acknowledgement.has_value());
  StepTo(30, Truth::kTrue);
  EXPECT_EQ(alert_.state, AlertState::kFiring);
  EXPECT_FALSE(alert_.acknowledgement.has_value());
}

TEST_F(Lifecycle, AcknowledgingTwiceIsOnce) {
  StepTo(0, Truth::kTrue);
  const Edit edit = {.by = "ada", .comment = "on it", .etag = EtagOf(alert_)};
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped first, Acknowledge(alert_, edit, At(7)));
  // The answer was lost; the same call comes again, with its old etag.
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped repeat, Acknowledge(first.alert, edit, At(9)));
  EXPECT_EQ(repeat.alert, first.alert);
  EXPECT_FALSE(repeat.transition.has_value());
  // Somebody else's does not replace it.
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped other, Acknowledge(first.alert, {.by = "bob"}, At(11)));
  EXPECT_EQ(other.alert, first.alert);
  EXPECT_THAT(Acknowledge(first.alert, {.by = "bob", .etag = edit.etag}, At(11)),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("etag")));
}

TEST_F(Lifecycle, OnlyAFiringAlertTakesEdits) {
  rule_.for_duration = absl::Seconds(30);
  const Edit edit = {.by = "ada"};
  EXPECT_THAT(Acknowledge(alert_, edit, At(0)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("inactive")));
  EXPECT_THAT(Resolve(alert_, edit, At(0)), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  StepTo(0, Truth::kTrue);
  EXPECT_THAT(Acknowledge(alert_, edit, At(0)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("pending")));
  EXPECT_THAT(Resolve(alert_, edit, At(0)), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  StepTo(30, Truth::kTrue);
  EXPECT_THAT(Acknowledge(alert_, {.by = ""}, At(31)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("by")));
  EXPECT_THAT(Acknowledge(alert_, {.by = "ada", .comment = std::string(4097, 'x')}, At(31)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("comment")));
  EXPECT_THAT(Resolve(alert_, {.by = "ada", .incarnation = 2}, At(31)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("episode")));
  EXPECT_THAT(Resolve(alert_, {.by = "ada", .incarnation = 1}, At(31)), IsOk());
}

TEST_F(Lifecycle, WhatAUserResolvedStaysSoUntilTheConditionHasClearedOnce) {
  StepTo(0, Truth::kTrue);
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped stepped, Resolve(alert_, {.by = "ada"}, At(7)));
  Keep(stepped);
  EXPECT_TRUE(alert_.suppressed);
  EXPECT_EQ(StepTo(10, Truth::kTrue), AlertState::kResolved);
  EXPECT_EQ(StepTo(20, Truth::kNoData), AlertState::kResolved);
  EXPECT_EQ(StepTo(30, Truth::kTrue), AlertState::kResolved);
  const int64_t version = alert_.version;
  EXPECT_EQ(StepTo(40, Truth::kFalse), AlertState::kResolved);
  EXPECT_FALSE(alert_.suppressed);
  EXPECT_EQ(alert_.version, version + 1);
  EXPECT_EQ(StepTo(50, Truth::kTrue), AlertState::kFiring);
  EXPECT_EQ(Path(), "firing resolved firing");
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped again, Resolve(alert_, {.by = "ada"}, At(51)));
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped twice, Resolve(again.alert, {.by = "bob"}, At(52)));
  EXPECT_EQ(twice.alert, again.alert);
}

TEST_F(Lifecycle, ResolvedOnBorrowedTimeNothingIsSuppressed) {
  rule_.keep_firing_duration = absl::Seconds(60);
  StepTo(0, Truth::kTrue);
  StepTo(10, Truth::kFalse);
  WEIR_ASSERT_OK_AND_ASSIGN(Stepped stepped, Resolve(alert_, {.by = "ada"}, At(11)));
  Keep(stepped);
  EXPECT_FALSE(alert_.suppressed);
  EXPECT_EQ(StepTo(20, Truth::kTrue), AlertState::kFiring);
}

TEST_F(Lifecycle, ARemovedRuleEndsItsAlert) {
  rule_.for_duration = absl::Seconds(10);
  StepTo(0, Truth::kTrue);
  Keep(Withdraw(alert_, At(1)));
  EXPECT_EQ(alert_.state, AlertState::kInactive);
  StepTo(10, Truth::kTrue);
  StepTo(20, Truth::kTrue);
  Keep(Withdraw(alert_, At(21)));
  EXPECT_EQ(alert_.state, AlertState::kResolved);
  EXPECT_EQ(alert_.resolution->cause, ResolveCause::kRuleRemoved);
  const Alert before = alert_;
  Keep(Withdraw(alert_, At(22)));
  EXPECT_EQ(alert_, before);
  EXPECT_EQ(Path(), "pending inactive pending firing resolved");
}

TEST(AlertIdentity, IsOfTenantRuleAndLabelsWhateverTheirOrder) {
  const std::vector<Label> labels = {{"a", "1"}, {"b", "2"}};
  const std::string fingerprint = AlertFingerprint("t", "r", labels);
  EXPECT_EQ(fingerprint.size(), 64u);
  EXPECT_EQ(fingerprint, AlertFingerprint("t", "r", {{"b", "2"}, {"a", "1"}}));
  EXPECT_EQ(IdOfAlert("t", "r", labels).ToHex(), fingerprint.substr(0, 32));
  EXPECT_NE(fingerprint, AlertFingerprint("u", "r", labels));
  EXPECT_NE(fingerprint, AlertFingerprint("t", "s", labels));
  EXPECT_NE(fingerprint, AlertFingerprint("t", "r", {{"a", "1"}}));
  EXPECT_NE(AlertFingerprint("ab", "c", {}), AlertFingerprint("a", "bc", {}));
  EXPECT_NE(AlertFingerprint("t", "r", {{"a", "bc"}}), AlertFingerprint("t", "r", {{"ab", "c"}}));
  // Stored and sent: never changes.
  EXPECT_EQ(AlertFingerprint("acme", "slos/chat-p95/page-1h", {{"slo", "chat-p95"}}),
            "e1866e98150d7f7bbcb790758d87db2176d2455deacd7e66fa155781a34274f4");
}

TEST(AlertFields, DeviationIsOfTheExpectedValue) {
  Evidence evidence;
  EXPECT_EQ(DeviationPercent(evidence), std::nullopt);
  evidence.current_value = 24.5;
  evidence.expected_value = 30;
  EXPECT_NEAR(*DeviationPercent(evidence), -18.33, 0.005);
  evidence.expected_value = -10;
  EXPECT_DOUBLE_EQ(*DeviationPercent(evidence), 345);
  evidence.expected_value = 0;
  EXPECT_EQ(DeviationPercent(evidence), std::nullopt);
}

TEST(AlertFields, AFiringAlertIsActiveInRest) {
  EXPECT_EQ(StatusName(AlertState::kFiring), "active");
  EXPECT_EQ(StatusName(AlertState::kAcknowledged), "acknowledged");
  EXPECT_EQ(StatusName(AlertState::kResolved), "resolved");
  EXPECT_EQ(AlertTypeName(AlertType::kPerformanceDegradation), "performance_degradation");
}

// ---- Against a second reading of the rules ----

struct Input {
  enum class What { kStep, kAcknowledge, kResolve } what = What::kStep;
  Truth truth = Truth::kFalse;
  int64_t seconds = 0;
};

// Answers, from the whole history and no state, whether the alert fires after
// its last input: by walking back through what was true when.
class History {
 public:
  History(int64_t for_seconds, int64_t keep_seconds)
      : for_seconds_(for_seconds), keep_seconds_(keep_seconds) {}

  struct Verdict {
    bool firing = false;
    bool pending = false;
    bool acknowledged = false;
  };

  Verdict Add(const Input& input) {
    inputs_.push_back(input);
    verdicts_.push_back(Judge(static_cast<int>(inputs_.size()) - 1));
    return verdicts_.back();
  }

 private:
  bool Known(int i, Truth truth) const {
    return inputs_[i].what == Input::What::kStep && inputs_[i].truth == truth;
  }
  bool Ends(int i) const { return i > 0 && verdicts_[i - 1].firing && !verdicts_[i].firing; }
  // The first true since the last false before `i`, which is true itself.
  int RunStart(int i) const {
    int start = i;
    for (int j = i; j >= 0 && !Known(j, Truth::kFalse); --j) {
      if (Known(j, Truth::kTrue)) start = j;
    }
    return start;
  }
  // Resolved by a user while the condition held, and not false since.
  bool Suppressed(int i) const {
    for (int j = i - 1; j >= 0; --j) {
      if (Known(j, Truth::kFalse)) return false;
      if (inputs_[j].what == Input::What::kResolve && Ends(j)) return !OnBorrowedTime(j);
    }
    return false;
  }
  // The last thing known before `i` is false.
  bool OnBorrowedTime(int i) const {
    for (int j = i - 1; j >= 0; --j) {
      if (Known(j, Truth::kTrue)) return false;
      if (Known(j, Truth::kFalse)) return true;
    }
    return false;
  }
  Verdict Judge(int i) const {
    const Verdict before = i == 0 ? Verdict{} : verdicts_[i - 1];
    const Input& input = inputs_[i];
    Verdict after = before;
    if (input.what == Input::What::kAcknowledge) {
      after.acknowledged = before.firing;
      return after;
    }
    if (input.what == Input::What::kResolve) {
      if (before.firing) after = Verdict{};
      return after;
    }
    if (input.truth == Truth::kNoData) return after;
    if (before.firing) {
      if (input.truth == Truth::kTrue) return after;
      int first_false = i;
      for (int j = i; j >= 0 && !Known(j, Truth::kTrue); --j) {
        if (Known(j, Truth::kFalse)) first_false = j;
      }
      if (input.seconds - inputs_[first_false].seconds >= keep_seconds_) after = Verdict{};
      return after;
    }
    if (input.truth == Truth::kFalse || Suppressed(i)) return Verdict{};
    const int start = RunStart(i);
    after.firing = input.seconds - inputs_[start].seconds >= for_seconds_;
    after.pending = !after.firing;
    return after;
  }

  const int64_t for_seconds_;
  const int64_t keep_seconds_;
  std::vector<Input> inputs_;
  std::vector<Verdict> verdicts_;
};

void CheckInvariants(const Alert& alert) {
  const bool began = alert.state != AlertState::kInactive;
  const bool fired = began && alert.state != AlertState::kPending;
  EXPECT_EQ(alert.pending_since.has_value(), began);
  EXPECT_EQ(alert.fired_at.has_value(), fired);
  EXPECT_EQ(alert.resolution.has_value(), alert.state == AlertState::kResolved);
  if (alert.state == AlertState::kAcknowledged) {
    EXPECT_TRUE(alert.acknowledgement);
  }
  if (!fired || alert.state == AlertState::kFiring) {
    EXPECT_FALSE(alert.acknowledgement);
  }
  if (alert.clear_since) {
    EXPECT_TRUE(Firing(alert.state));
  }
  if (alert.suppressed) {
    EXPECT_EQ(alert.state, AlertState::kResolved);
  }
  if (alert.resolution) {
    EXPECT_GE(alert.resolution->time, *alert.fired_at);
  }
}

Stepped Play(const Rule& rule, const Alert& alert, const Input& input) {
  if (input.what == Input::What::kStep) {
    return Step(rule, alert, Is(input.truth, static_cast<double>(input.seconds)),
                At(input.seconds));
  }
  const Edit edit = {.by = "ada", .comment = StrCat(input.seconds)};
  const absl::StatusOr<Stepped> stepped = input.what == Input::What::kAcknowledge
                                              ? Acknowledge(alert, edit, At(input.seconds))
                                              : Resolve(alert, edit, At(input.seconds));
  return stepped.ok() ? *stepped : Stepped{alert, std::nullopt};
}

std::vector<Input> RandomInputs(Random* random) {
  std::vector<Input> inputs;
  int64_t seconds = 0;
  Truth truth = Truth::kFalse;
  const uint64_t stubbornness = random->Between(1, 6);
  for (int i = 0; i < 60; ++i) {
    seconds += static_cast<int64_t>(random->Between(1, 3)) * 5;
    if (random->OneIn(stubbornness)) {
      truth = random->OneIn(2) ? Truth::kTrue : Truth::kFalse;
    }
    Input input = {.truth = random->OneIn(8) ? Truth::kNoData : truth, .seconds = seconds};
    if (random->OneIn(10)) input.what = Input::What::kAcknowledge;
    if (random->OneIn(12)) input.what = Input::What::kResolve;
    inputs.push_back(input);
  }
  return inputs;
}

TEST(LifecycleProperty, RandomHistoriesAgreeWithASecondReadingOfThem) {
  Random random(test::TestSeed());
  int episode_count = 0;
  for (int round = 0; round < 5000 && !::testing::Test::HasFailure(); ++round) {
    Rule rule = TestRule();
    const int64_t for_seconds = static_cast<int64_t>(random.Below(5)) * 10;
    const int64_t keep_seconds = static_cast<int64_t>(random.Below(5)) * 10;
    rule.for_duration = absl::Seconds(for_seconds);
    rule.keep_firing_duration = absl::Seconds(keep_seconds);
    History history(for_seconds, keep_seconds);
    Alert alert = NewAlert(rule, {});
    AlertState last = AlertState::kInactive;
    for (const Input& input : RandomInputs(&random)) {
      SCOPED_TRACE(StrCat("round ", round, " at ", input.seconds));
      const History::Verdict verdict = history.Add(input);
      const Stepped stepped = Play(rule, alert, input);
      ASSERT_EQ(Firing(stepped.alert.state), verdict.firing);
      ASSERT_EQ(stepped.alert.state == AlertState::kPending, verdict.pending);
      ASSERT_EQ(stepped.alert.state == AlertState::kAcknowledged, verdict.acknowledged);
      CheckInvariants(stepped.alert);
      ASSERT_EQ(stepped.transition.has_value(), stepped.alert.state != alert.state);
      if (stepped.transition) {
        EXPECT_EQ(stepped.transition->from, last);
        EXPECT_EQ(stepped.transition->version, stepped.alert.version);
        EXPECT_GT(stepped.alert.version, alert.version);
        EXPECT_EQ(stepped.transition->incarnation, stepped.alert.incarnation);
        last = stepped.transition->to;
        const bool fires = last == AlertState::kFiring;
        episode_count += fires;
      }
      // Whoever does it again, from the same row, gets the same.
      const Stepped again = Play(rule, alert, input);
      EXPECT_EQ(again.alert, stepped.alert);
      EXPECT_EQ(again.transition, stepped.transition);
      alert = stepped.alert;
      // And what is repeated after the row was written changes nothing.
      if (input.what == Input::What::kStep) {
        EXPECT_EQ(Play(rule, alert, input).alert, alert);
      }
    }
  }
  EXPECT_GT(episode_count, 5000);
}

}  // namespace
}  // namespace weir::alerting
