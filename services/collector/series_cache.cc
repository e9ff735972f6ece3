#include "services/collector/series_cache.h"

#include "absl/hash/hash.h"
#include "common/base/strings.h"

namespace weir::collector {

size_t SeriesCache::PartOf(std::string_view key) {
  // Bits that the maps do not use.
  return (absl::Hash<absl::string_view>()(AbslView(key)) >> 48) % kParts;
}

uint64_t SeriesCache::NumberOf(std::string_view context) {
  MutexLock lock(&contexts_mu_);
  const auto found = contexts_.find(AbslView(context));
  if (found != contexts_.end()) return found->second;
  const size_t bytes = context.size() + kEntryBytes;
  if (context_bytes_ + bytes > max_bytes_ / kParts) {
    contexts_ = {};
    context_bytes_ = 0;
  }
  context_bytes_ += bytes;
  contexts_.emplace(std::string(context), ++last_number_);
  return last_number_;
}

std::optional<SeriesCache::Entry> SeriesCache::Find(std::string_view key) const {
  const Part& part = parts_[PartOf(key)];
  MutexLock lock(&part.mu);
  const auto found = part.entries.find(AbslView(key));
  if (found == part.entries.end()) return std::nullopt;
  return found->second;
}

void SeriesCache::Insert(std::string_view key, const Entry& entry) {
  Part& part = parts_[PartOf(key)];
  const size_t bytes = key.size() + kEntryBytes;
  MutexLock lock(&part.mu);
  if (part.bytes + bytes > max_bytes_ / kParts) {
    part.entries = {};
    part.bytes = 0;
  }
  if (part.entries.try_emplace(std::string(key), entry).second) part.bytes += bytes;
}

}  // namespace weir::collector
