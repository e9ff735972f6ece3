// The series a recorder uses, numbered from 0 in the order of first use.
//
// What could make a whole batch unreadable (text that is not UTF-8, a series
// larger than a message) is refused here; every other limit is the collector's,
// which rejects samples one by one and says why.
//
// Thread safety: thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/base/mutex.h"
#include "common/client/recorder.h"
#include "common/model/series.h"

namespace weir::client {

// A series' number, or why its samples are dropped, in the one integer that
// handles carry.
struct SeriesRef {
  static SeriesRef Of(uint32_t number) { return {number}; }
  static SeriesRef Dropped(DropReason reason) { return {-1 - static_cast<int64_t>(reason)}; }

  bool dropped() const { return value < 0; }
  // REQUIRES: dropped().
  DropReason reason() const { return static_cast<DropReason>(-1 - value); }
  // REQUIRES: !dropped().
  uint32_t number() const { return static_cast<uint32_t>(value); }

  int64_t value;
};

class SeriesRegistry {
 public:
  // `common` are labels of every series. Series past `max_series` are refused.
  SeriesRegistry(int64_t max_series, std::vector<Label> common);

  // The number of a series whose labels are `extra`, then those of `own` and of
  // the common ones that have other names. The same series has the same number.
  SeriesRef Intern(std::string_view name, Kind kind, absl::Span<const Label> own,
                   absl::Span<const Label> extra);

  // As Intern, for the recorder's own series, which no limit keeps out.
  SeriesRef InternOwn(std::string_view name, Kind kind, absl::Span<const Label> labels);

  // REQUIRES: `number` was given out.
  Series Get(uint32_t number) const;
  // What a definition takes in a message, at most.
  int64_t DefinitionBytes(uint32_t number) const;

 private:
  SeriesRef Find(Series series, int64_t limit);

  const int64_t max_series_;
  const std::vector<Label> common_;

  mutable Mutex mu_;
  absl::flat_hash_map<std::string, uint32_t> numbers_ ABSL_GUARDED_BY(mu_);  // by AppendSeries
  std::deque<Series> series_ ABSL_GUARDED_BY(mu_);
};

// Whether `text` is UTF-8 as protobuf demands it: no surrogates, no overlong
// forms, at most U+10FFFF.
bool IsUtf8(std::string_view text);

}  // namespace weir::client
