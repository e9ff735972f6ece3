// Answers from committed rows: bins of a window, and lists of series.
//
// A bin of tier i is read from tier i up to that slot's derived_until, from the
// next finer tier after it, and so on down to tier 0; partials of one series and
// bin merge here. Everything comes from one snapshot, so an answer is one state
// of the store, and says how complete it is.
//
// A query that cannot be answered for what it asks is refused: its status
// carries a RefusalReason and metadata, as payloads. Any other error is the
// store's.
//
// Thread safety: pure functions over a snapshot that one thread uses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/model/aggregate.h"
#include "common/model/series.h"
#include "common/model/tier.h"
#include "common/store/store.h"

namespace weir::aggregator {

// Why a query was refused; weir.v1.ErrorReason has the same names.
enum class RefusalReason {
  kInvalidField = 1,  // InvalidArgument; metadata field
  kUnknownWindow,     // InvalidArgument; metadata window, valid
  kInvalidPattern,    // InvalidArgument; metadata pattern
  kKindMismatch,      // FailedPrecondition; metadata kinds
  kAnswerTooLarge,    // ResourceExhausted; metadata limit
};

using RefusalMetadata = std::vector<std::pair<std::string, std::string>>;

absl::Status Refusal(RefusalReason reason, std::string_view message, RefusalMetadata metadata);

// The reason and metadata of a refusal; nullopt for any other status.
std::optional<RefusalReason> RefusalReasonOf(const absl::Status& status);
// Ordered by key.
RefusalMetadata RefusalMetadataOf(const absl::Status& status);

// At most `limit` bytes of a client's text, without half of a UTF-8 character at
// the end, and "..." where it was cut.
std::string Shorten(std::string_view text, size_t limit);

// What to compute for each bin.
enum class Function { kCount = 1, kSum, kAvg, kMin, kMax, kLast, kRate, kStddev };

struct LabelMatcher {
  std::string label;    // a series without it has the value ""
  std::string pattern;  // RE2, matches the whole value
  bool exclude = false;
};

struct WindowQuery {
  std::string tenant;
  std::string window;
  std::string name;
  std::vector<Label> labels;
  std::vector<LabelMatcher> matchers;
  // Merges series that agree on these labels; absent, each is on its own.
  std::optional<std::vector<std::string>> group_by;
  std::optional<absl::Time> start_time;  // absent: end_time less the window
  std::optional<absl::Time> end_time;    // absent: now
  std::vector<Function> functions;       // what the caller will ask ValueOf
  std::vector<double> quantiles;
  std::optional<Kind> kind;
  // Only series whose labels are after these, and so many of them at most.
  std::optional<std::vector<Label>> after;
  std::optional<int64_t> page_size;  // REQUIRES: at least 1
};

struct QueryLimits {
  // Bins of all series of one answer, gaps included. One takes 144 bytes here
  // and up to as many on the wire. Default 1,000,000.
  int64_t max_answer_bins = 1'000'000;
  // Series or groups of one answer. Default 10,000.
  int64_t max_answer_series = 10'000;
  // Series merged into one answer. Default 100,000.
  int64_t max_matched_series = 100'000;
  int max_matchers = 16;
  int max_quantiles = 16;
  int max_group_labels = 32;
  int64_t max_pattern_bytes = 4096;
  // What RE2 may allocate for one pattern, which bounds its program: 256 KiB are
  // some 2,700 instructions. Default 256 KiB.
  int64_t max_pattern_memory_bytes = 256 << 10;
  // Series one ListSeries call looks at; with matchers that few satisfy, a page
  // then ends early. Default 100,000.
  int64_t max_scanned_series = 100'000;
  // A log not heard for this long does not hold complete_until back.
  absl::Duration silent_after = absl::Seconds(60);
};

struct BinAnswer {
  Aggregate aggregate;  // count 0: a gap
  // In the order asked for; empty for a gap.
  std::vector<double> quantiles;
  double relative_error = 0;  // of each quantile
};

struct SeriesAnswer {
  std::vector<Label> labels;  // the series', or those grouped by ("" where absent)
  Kind kind = Kind::kGauge;
  std::vector<BinAnswer> bins;  // every bin of the range
};

struct MissingLog {
  WalId wal_id;
  absl::Time heard_time;
  absl::Time complete_until;
};

struct WindowAnswer {
  int tier = 0;
  int64_t bin_seconds = 0;
  // Of the bins answered, aligned; equal when none of the range is kept.
  int64_t start_seconds = 0;
  int64_t end_seconds = 0;
  std::vector<SeriesAnswer> series;  // ordered by labels
  bool more = false;                 // series after the last of these match as well
  // Every sample a live collector acknowledged before this receive time is in
  // the answer; absent while none is live.
  std::optional<absl::Time> complete_until;
  std::vector<MissingLog> missing;  // ordered by WAL
  int64_t kept_since_seconds = 0;   // the tier's floor
};

// Errors: refusals; the store's; DataLoss for a stored sketch that does not parse.
absl::StatusOr<WindowAnswer> QueryWindow(const WindowQuery& query, store::Snapshot& snapshot,
                                         const TierTable& tiers, absl::Time now,
                                         const QueryLimits& limits);

// What `function` is of a bin, for series of `kind`.
// REQUIRES: aggregate.count > 0; QueryWindow accepted `function` for `kind`.
double ValueOf(Function function, Kind kind, const Aggregate& aggregate, int64_t bin_seconds);

// Which series to list, and how many.
struct SeriesQuery {
  std::string tenant;
  std::string name;  // empty: all
  std::vector<Label> labels;
  std::vector<LabelMatcher> matchers;
  std::optional<SeriesId> after;  // exclusive
  int limit = 50;                 // REQUIRES: at least 1
};

struct SeriesPage {
  std::vector<store::SeriesRow> series;  // in id order
  // Where the next page continues; absent at the end, and only there.
  std::optional<SeriesId> next_after;
};

// Errors: as QueryWindow's.
absl::StatusOr<SeriesPage> ListSeries(const SeriesQuery& query, store::Snapshot& snapshot,
                                      const QueryLimits& limits);

}  // namespace weir::aggregator
