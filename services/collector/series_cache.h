// Series by what they were sent as: OTLP names a series anew with each point, in some
// hundred bytes of attributes, and the same bytes always mean the same series. So they
// are looked up before anything is made of them.
//
// Bounded: a part of it that is full is emptied, and fills again.
//
// Thread safety: thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "common/base/mutex.h"
#include "services/collector/series_table.h"

namespace weir::collector {

class SeriesCache {
 public:
  explicit SeriesCache(size_t max_bytes = size_t{64} << 20) : max_bytes_(max_bytes) {}

  struct Entry {
    SeriesHandle series;
    // Whether its client sums up in it what is past its own limit.
    bool client_overflow = false;
  };

  // A number to begin keys with in place of `context`, which many of them share. One
  // number is never of two contexts; a context may get another one later.
  uint64_t NumberOf(std::string_view context);

  // `key` tells everything that makes the series: it is never equal for two.
  std::optional<Entry> Find(std::string_view key) const;
  void Insert(std::string_view key, const Entry& entry);

 private:
  // So many locks, so that threads seldom meet.
  static constexpr size_t kParts = 16;
  // Of an entry besides its key.
  static constexpr size_t kEntryBytes = 80;
  struct Part {
    mutable Mutex mu;
    absl::flat_hash_map<std::string, Entry> entries ABSL_GUARDED_BY(mu);
    size_t bytes ABSL_GUARDED_BY(mu) = 0;
  };

  static size_t PartOf(std::string_view key);

  const size_t max_bytes_;
  std::array<Part, kParts> parts_;

  Mutex contexts_mu_;
  absl::flat_hash_map<std::string, uint64_t> contexts_ ABSL_GUARDED_BY(contexts_mu_);
  size_t context_bytes_ ABSL_GUARDED_BY(contexts_mu_) = 0;
  uint64_t last_number_ ABSL_GUARDED_BY(contexts_mu_) = 0;
};

}  // namespace weir::collector
