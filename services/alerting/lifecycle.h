// The state machine of one alert.
//
//                true               held for `for`
//   inactive ──────────> pending ──────────────────> firing ──────> acknowledged
//       ^                   │                           │    a user       │
//       └───────────────────┘                           └───────┬─────────┘
//              false                    false for `keep firing` │ or a user
//                                                               v
//       pending or firing, in the next incarnation <──────── resolved
//
// With `for` 0 an alert goes straight to firing, in one transition.
//
// No data is not a value: whether it means true, false or neither is the
// caller's policy, and kNoData is "neither". Such a step never changes the
// state; the clocks of `for` and `keep firing` run on, and the next step that
// knows something reads them.
//
// Everything is a function of its arguments: the same steps and edits in the
// same order give the same transitions, in any process and at any later time.
// Steps are at evaluation times T, in order; a T that was stepped already
// changes nothing, so an evaluator may repeat what it is not sure of.
//
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/alerting/alert.h"

namespace weir::alerting {

enum class Truth : uint8_t { kFalse, kTrue, kNoData };

struct Condition {
  Truth truth = Truth::kFalse;
  Evidence evidence;
};

struct Stepped {
  Alert alert;
  std::optional<Transition> transition;
};

// An alert that has never been evaluated.
// REQUIRES: the names of `labels` are unique.
Alert NewAlert(const Rule& rule, std::vector<Label> labels);

// The alert after `rule` was evaluated at `time`.
// REQUIRES: `alert` is one of `rule`'s.
Stepped Step(const Rule& rule, const Alert& alert, const Condition& condition, absl::Time time);

// What a user asks for.
struct Edit {
  std::string by;       // who; not empty, at most kMaxByBytes
  std::string comment;  // at most kMaxCommentBytes
  // The version the user has seen (EtagOf); empty means whichever it is.
  std::string etag;
  // The episode the user means; absent means the latest.
  std::optional<int64_t> incarnation;
};
inline constexpr size_t kMaxByBytes = 256;
inline constexpr size_t kMaxCommentBytes = 4096;

std::string EtagOf(const Alert& alert);

// firing -> acknowledged. Changes nothing, and is not an error, when the episode
// is acknowledged already: the first acknowledgement stands. A repeat of it by
// the same user with the same comment may carry the etag of before.
//
// Errors:
//   InvalidArgument     `by` or `comment` breaks its limits.
//   Aborted             the alert has changed since `etag`: read it again.
//   FailedPrecondition  the alert is not firing, or `incarnation` is not its episode.
absl::StatusOr<Stepped> Acknowledge(const Alert& alert, const Edit& edit, absl::Time now);

// firing or acknowledged -> resolved, whatever the condition; the alert stays
// resolved until the condition has been false once. Changes nothing when the
// episode is over already. Errors: as Acknowledge.
absl::StatusOr<Stepped> Resolve(const Alert& alert, const Edit& edit, absl::Time now);

// Ends what is left of an alert whose rule is removed, disabled or no longer
// yields these labels: firing -> resolved, pending -> inactive. Nothing suppresses
// the alert should the rule come back.
Stepped Withdraw(const Alert& alert, absl::Time time);

}  // namespace weir::alerting
