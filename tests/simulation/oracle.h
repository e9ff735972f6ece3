// What must be counted, and nothing else: the truth that answers are compared
// with.
//
// Every sample has a value of its own, 60 random bits, so a sum that is wrong by
// one sample says which.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/numeric/int128.h"
#include "absl/time/time.h"
#include "common/model/series.h"
#include "common/model/tier.h"
#include "common/store/store.h"

namespace weir::simulation {

struct SimulatedSample {
  int series = 0;
  int64_t event_unix_nano = 0;
  int64_t value = 0;
};

// What a client sends in one message; kept until it is acknowledged.
struct ClientBatch {
  uint64_t id = 0;
  std::vector<SimulatedSample> samples;
};
using ClientBatchPtr = std::shared_ptr<const ClientBatch>;

// Event times lie in these spans and nowhere else: the run itself, and a few
// spans of the past that late data come from.
struct EventSpan {
  int64_t start_seconds = 0;
  int64_t end_seconds = 0;
};

struct Verdict {
  int64_t lost = 0;
  int64_t doubled = 0;
  std::string first;  // the first difference, in words
};

class Oracle {
 public:
  Oracle(int series_count, std::vector<EventSpan> spans);

  const Series& series(int number) const { return series_[number]; }
  int series_count() const { return static_cast<int>(series_.size()); }
  const std::vector<EventSpan>& spans() const { return spans_; }

  // From now on the batch must be counted: it was acknowledged, or is known to
  // be in a durable frame.
  void Expect(const ClientBatchPtr& batch);
  int64_t expected_count() const { return expected_count_; }

  // Compares what queries answer with what is expected: for every tier, every
  // series, every bin that the tier still keeps.
  Verdict Compare(store::Store& store, const TierTable& tiers, absl::Time now) const;

 private:
  struct Sum {
    int64_t count = 0;
    absl::int128 sum = 0;
  };
  using Bins = std::map<std::pair<int, int64_t>, Sum>;  // by series and start

  void CompareSpan(store::Snapshot& snapshot, const TierTable& tiers, int tier,
                   const EventSpan& span, absl::Time now, Verdict* verdict) const;
  void Judge(const std::string& where, const Sum& expected, const Sum& answered, int series,
             int64_t start_seconds, int64_t width_seconds, Verdict* verdict) const;

  const std::vector<EventSpan> spans_;
  std::vector<Series> series_;
  std::vector<ClientBatchPtr> expected_;
  absl::flat_hash_map<uint64_t, bool> known_;  // batch ids
  int64_t expected_count_ = 0;
};

}  // namespace weir::simulation
