#include "common/store/store.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/store/transaction.h"

namespace weir::store {
namespace {

absl::Status Invalid(const std::string& text) { return absl::InvalidArgumentError(text); }

// Text both databases can hold: UTF-8 as Unicode defines it (no surrogates, no
// overlong forms) and without NUL, which PostgreSQL has no place for.
bool Storable(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead == 0) return false;
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const int length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return false;
    const auto second = static_cast<unsigned char>(text[i + 1]);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return false;
    }
    for (int k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

absl::Status CheckSeries(const SeriesRow& row) {
  const Series& series = row.series;
  const int kind = static_cast<int>(series.kind);
  if (kind < 1 || kind > kMaxKind) return Invalid(absl::StrCat("series of kind ", kind));
  bool storable = Storable(series.tenant) && Storable(series.name);
  for (const Label& label : series.labels) {
    storable = storable && Storable(label.name) && Storable(label.value);
  }
  if (!storable) {
    return Invalid(
        absl::StrCat("series ", row.id.ToHex(), " holds a NUL or text that is not UTF-8"));
  }
  return absl::OkStatus();
}

absl::Status CheckPartial(const PartialRow& row, const TierTable& tiers) {
  if (row.tier < 0 || row.tier >= tiers.size()) return Invalid(absl::StrCat("tier ", row.tier));
  if (row.start_seconds < kMinSeconds || row.start_seconds >= kMaxSeconds ||
      AlignDown(row.start_seconds, tiers[row.tier].bin_seconds) != row.start_seconds) {
    return Invalid(absl::StrCat("a bin of tier ", row.tier, " that starts at ", row.start_seconds));
  }
  const Aggregate& a = row.aggregate;
  if (a.count <= 0 || a.float_count < 0 || a.float_count > a.count) {
    return Invalid(
        absl::StrCat("a partial of ", a.count, " samples, ", a.float_count, " as floats"));
  }
  if (!std::isfinite(a.min) || !std::isfinite(a.max) || !std::isfinite(a.first) ||
      !std::isfinite(a.last)) {
    return Invalid(absl::StrCat("a partial of series ", row.series_id.ToHex(),
                                " with a sample that is not finite"));
  }
  return absl::OkStatus();
}

absl::Status CheckCumulatives(const Transaction& t, absl::FunctionRef<bool(int slot)> is_named) {
  using Key = std::pair<int, std::pair<SeriesId, int64_t>>;
  absl::flat_hash_set<Key> written;
  written.reserve(t.cumulatives.size());
  for (const CumulativeRow& row : t.cumulatives) {
    if (!is_named(row.slot)) return Invalid(absl::StrCat("cumulative row of slot ", row.slot));
    if (!written.insert({row.slot, {row.series_id, row.start_unix_nano}}).second) {
      return Invalid(absl::StrCat("two cumulative rows of series ", row.series_id.ToHex(), " from ",
                                  row.start_unix_nano));
    }
  }
  for (const CumulativeKey& key : t.dropped_cumulatives) {
    if (!is_named(key.slot)) return Invalid(absl::StrCat("cumulative row of slot ", key.slot));
    if (written.contains({key.slot, {key.series_id, key.start_unix_nano}})) {
      return Invalid(absl::StrCat("the cumulative row of series ", key.series_id.ToHex(), " from ",
                                  key.start_unix_nano, " is written and dropped"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIndicatorChanges(const Transaction& t) {
  absl::flat_hash_set<std::pair<absl::string_view, absl::string_view>> names;
  for (const auto& change : t.indicator_changes) {
    const IndicatorRow& row = change.row;
    if (!Storable(row.tenant) || !Storable(row.name) ||
        row.tenant.size() + row.name.size() > kMaxIndicatorNameBytes) {
      return Invalid("the name of an indicator is too long, holds a NUL or is not UTF-8");
    }
    if (!names.insert({row.tenant, row.name}).second) {
      return Invalid(absl::StrCat("two changes of indicator ", row.name));
    }
    if (change.old_version < 0 ||
        (change.deleted ? change.old_version == 0 : row.version <= change.old_version)) {
      return Invalid(absl::StrCat("indicator ", row.name, " from version ", change.old_version,
                                  change.deleted ? " to none" : " to ",
                                  change.deleted ? "" : absl::StrCat(row.version)));
    }
  }
  if (t.indicator_set_version < 0) {
    return Invalid(absl::StrCat("indicators of version ", t.indicator_set_version));
  }
  return absl::OkStatus();
}

absl::Status CheckIndicatorBins(const Transaction& t, absl::FunctionRef<bool(int slot)> is_named) {
  using Key = std::pair<std::pair<int, int>, std::pair<int64_t, IndicatorId>>;
  absl::flat_hash_set<Key> added;
  added.reserve(t.indicator_bins.size());
  for (const IndicatorBin& bin : t.indicator_bins) {
    if (!is_named(bin.slot)) return Invalid(absl::StrCat("indicator bin of slot ", bin.slot));
    WEIR_RETURN_IF_ERROR(CheckIndicatorTier(bin.tier));
    if (bin.start_seconds < kMinSeconds || bin.start_seconds >= kMaxSeconds ||
        AlignDown(bin.start_seconds, kIndicatorTiers[bin.tier].bin_seconds) != bin.start_seconds) {
      return Invalid(absl::StrCat("an indicator bin of tier ", bin.tier, " that starts at ",
                                  bin.start_seconds));
    }
    if (bin.good < 0 || bin.total < 0) {
      return Invalid(absl::StrCat("indicator ", bin.indicator_id.ToHex(), " counts ", bin.good,
                                  " good of ", bin.total));
    }
    if (!added.insert({{bin.tier, bin.slot}, {bin.start_seconds, bin.indicator_id}}).second) {
      return Invalid(absl::StrCat("two bins of indicator ", bin.indicator_id.ToHex(), " at ",
                                  bin.start_seconds));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckIndicatorTier(int tier) {
  if (tier >= 0 && tier < kIndicatorTierCount) return absl::OkStatus();
  return Invalid(absl::StrCat("tier ", tier, " of indicators"));
}

BinRange BinRangeOf(const IndicatorBinFilter& filter) {
  const int64_t width = kIndicatorTiers[filter.tier].bin_seconds;
  const int64_t start = std::clamp(filter.start_seconds, kMinSeconds, kMaxSeconds);
  return {.start_seconds = -AlignDown(-start, width),
          .end_seconds = std::clamp(filter.end_seconds, kMinSeconds, kMaxSeconds)};
}

int64_t SaturatingAdd(int64_t stored, int64_t added) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return stored > kMost - added ? kMost : stored + added;
}

absl::Status CheckTransaction(const Transaction& t, int slot_count, const TierTable& tiers) {
  std::vector<bool> named(slot_count, false);
  const auto is_named = [&](int slot) { return slot >= 0 && slot < slot_count && named[slot]; };
  int previous = -1;
  for (const auto& change : t.slots) {
    if (change.slot <= previous || change.slot >= slot_count) {
      return Invalid(absl::StrCat("slot ", change.slot, " is out of order or range"));
    }
    previous = change.slot;
    named[change.slot] = true;
  }
  absl::flat_hash_set<std::pair<int, WalId>> wals;
  for (const auto& change : t.watermarks) {
    if (!is_named(change.slot)) return Invalid(absl::StrCat("watermark of slot ", change.slot));
    if (!wals.insert({change.slot, change.wal_id}).second ||
        change.new_lsn > std::numeric_limits<int64_t>::max() || change.new_lsn < change.old_lsn) {
      return Invalid(absl::StrCat("watermark of slot ", change.slot, " twice or not rising"));
    }
  }
  absl::flat_hash_set<std::pair<int, int>> derived;
  for (const auto& change : t.derives) {
    if (!is_named(change.slot) || change.tier < 1 || change.tier >= tiers.size() ||
        !derived.insert({change.slot, change.tier}).second) {
      return Invalid(absl::StrCat("derivation of slot ", change.slot, ", tier ", change.tier));
    }
    const int64_t until = change.new_until_seconds;
    if (until < change.old_until_seconds || until < kMinSeconds || until >= kMaxSeconds ||
        AlignDown(until, tiers[change.tier].bin_seconds) != until) {
      return Invalid(absl::StrCat("derivation until ", until, " of tier ", change.tier));
    }
  }
  if (!t.floors.empty() && static_cast<int>(t.floors.size()) != tiers.size()) {
    return Invalid(absl::StrCat(t.floors.size(), " floors for ", tiers.size(), " tiers"));
  }
  for (const SeriesRow& row : t.series) {
    if (!is_named(row.slot)) return Invalid(absl::StrCat("series of slot ", row.slot));
    WEIR_RETURN_IF_ERROR(CheckSeries(row));
  }
  for (const PartialRow& row : t.partials) {
    if (!is_named(row.slot)) return Invalid(absl::StrCat("partial of slot ", row.slot));
    WEIR_RETURN_IF_ERROR(CheckPartial(row, tiers));
  }
  WEIR_RETURN_IF_ERROR(CheckCumulatives(t, is_named));
  WEIR_RETURN_IF_ERROR(CheckIndicatorChanges(t));
  return CheckIndicatorBins(t, is_named);
}

absl::StatusOr<std::vector<int>> CheckSlots(std::vector<int> slots, int slot_count) {
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  if (!slots.empty() && (slots.front() < 0 || slots.back() >= slot_count)) {
    return Invalid(
        absl::StrCat("slots ", slots.front(), " to ", slots.back(), " of a store of ", slot_count));
  }
  return slots;
}

int64_t RaisedFloor(const TierTable& tiers, int tier, int64_t current, int64_t wanted,
                    int64_t coarser_derived_until) {
  const bool coarsest = tier + 1 == tiers.size();
  const int64_t step = tiers[coarsest ? tier : tier + 1].bin_seconds;
  wanted = AlignDown(wanted, step);
  if (!coarsest) wanted = std::min(wanted, coarser_derived_until);
  return std::max(current, wanted);
}

int64_t NanosOfTime(absl::Time time) { return absl::ToUnixNanos(time); }

absl::Time TimeOfNanos(int64_t unix_nano) {
  if (unix_nano == std::numeric_limits<int64_t>::min()) return absl::InfinitePast();
  if (unix_nano == std::numeric_limits<int64_t>::max()) return absl::InfiniteFuture();
  return absl::FromUnixNanos(unix_nano);
}

}  // namespace weir::store
