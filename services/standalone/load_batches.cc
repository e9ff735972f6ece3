#include "services/standalone/load_batches.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/random.h"

namespace weir::standalone {
namespace {

// Samples of a batch are this far apart: what a client with a clock of
// microseconds sends.
constexpr int64_t kSpacingNanos = 1000;

constexpr const char* kNames[kMaxKind] = {"load.queue.depth", "load.tokens.used",
                                          "load.requests.in_flight", "load.request.duration"};
constexpr const char* kModels[] = {"swift-small", "swift-large", "heron-7b", "heron-70b",
                                   "osprey-mini"};
constexpr const char* kRegions[] = {"eu-central", "eu-north", "us-east", "us-west", "ap-south"};

// Decides everything about one series, whichever connection it belongs to.
Random RandomOfSeries(int64_t seed, int64_t series) {
  return Random(static_cast<uint64_t>(seed) * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(series));
}

}  // namespace

BatchMaker::BatchMaker(const LoadOptions& options, int connection)
    : options_(options), connection_(connection) {
  // Series number s belongs to connection s % connections, as ref s / connections.
  const int64_t count =
      (options.series - connection + options.connections - 1) / options.connections;
  profiles_.reserve(count);
  for (int64_t ref = 0; ref < count; ++ref) {
    Random random = RandomOfSeries(options.seed, ref * options.connections + connection);
    double left = random.Fraction();
    int kind = 0;
    while (kind < kMaxKind - 1 && (left >= options.kinds[kind] || options.kinds[kind] == 0)) {
      left -= options.kinds[kind++];
    }
    // Rounding may step past the last kind that has a weight.
    while (kind > 0 && options.kinds[kind] == 0) --kind;
    profiles_.push_back(
        {.kind = static_cast<Kind>(kind + 1), .integer = random.Fraction() < options.integers});
  }
  Random random(static_cast<uint64_t>(options.seed));
  durations_.resize(4096);
  for (double& duration : durations_) {
    // Box and Muller's normal deviate; the median request takes 300 ms.
    const double normal =
        std::sqrt(-2 * std::log(1 - random.Fraction())) * std::cos(2 * M_PI * random.Fraction());
    duration = 0.3 * std::exp(0.8 * normal);
  }
  sample_limit_ = options.samples == 0
                      ? std::numeric_limits<int64_t>::max()
                      : options.samples / options.connections +
                            (connection < options.samples % options.connections ? 1 : 0);
}

int64_t BatchMaker::SampleCount(int64_t sequence) const {
  const int64_t batches_before = sequence - 1;
  if (batches_before > sample_limit_ / options_.batch_size) return 0;
  return std::clamp<int64_t>(sample_limit_ - batches_before * options_.batch_size, 0,
                             options_.batch_size);
}

void BatchMaker::Define(uint32_t ref, v1::SeriesDefinition* definition) const {
  const int64_t series = int64_t{ref} * options_.connections + connection_;
  const Kind kind = profiles_[ref].kind;
  definition->set_ref(ref);
  definition->set_name(kNames[static_cast<int>(kind) - 1]);
  definition->set_kind(static_cast<v1::Kind>(kind));
  auto& labels = *definition->mutable_labels();
  labels["model"] = kModels[series % std::size(kModels)];
  labels["region"] = kRegions[series / std::size(kModels) % std::size(kRegions)];
  labels["service"] = absl::StrCat("service-", series % 17);
  labels["host"] = absl::StrCat("host-", series / 100);
  labels["replica"] = absl::StrCat("replica-", series);
}

void BatchMaker::Make(int64_t sequence, absl::Time time, std::vector<int64_t>* defined_at,
                      v1::StreamBatchesRequest* request) const {
  WEIR_CHECK(defined_at->size() == profiles_.size());
  const int count = static_cast<int>(SampleCount(sequence));
  WEIR_CHECK(count > 0);
  v1::Batch& batch = *request->mutable_batch();
  batch.mutable_series()->Clear();
  v1::FloatColumns& floats = *batch.mutable_floats();
  v1::IntegerColumns& integers = *batch.mutable_integers();
  floats.Clear();
  integers.Clear();
  for (auto* refs : {floats.mutable_refs(), integers.mutable_refs()}) refs->Reserve(count);
  for (auto* deltas : {floats.mutable_time_deltas(), integers.mutable_time_deltas()}) {
    deltas->Reserve(count);
  }
  floats.mutable_values()->Reserve(count);
  integers.mutable_values()->Reserve(count);

  Random random =
      Random(static_cast<uint64_t>(options_.seed) ^ (static_cast<uint64_t>(connection_) << 48) ^
             static_cast<uint64_t>(sequence))
          .Fork();
  // Times in whole microseconds, so that a client is not charged for a
  // resolution that no real one has.
  const int64_t late_micros = absl::ToInt64Microseconds(options_.lateness.duration);
  const bool uniform = options_.lateness.uniform && late_micros > 0;
  const int64_t base = absl::ToUnixMicros(time) * 1000 - (uniform ? 0 : late_micros * 1000) -
                       (count - 1) * kSpacingNanos;
  batch.set_sequence(sequence);
  batch.set_base_time_unix_nano(base);
  int64_t last_float = 0, last_integer = 0;
  for (int i = 0; i < count; ++i) {
    const uint64_t bits = random();
    const auto ref =
        static_cast<uint32_t>(static_cast<unsigned __int128>(bits) * profiles_.size() >> 64);
    int64_t& defined = (*defined_at)[ref];
    if (defined == 0) [[unlikely]] {
      defined = sequence;
      Define(ref, batch.add_series());
    }
    int64_t offset = i * kSpacingNanos;
    if (uniform) offset -= static_cast<int64_t>(random.Below(late_micros)) * 1000;
    const Profile profile = profiles_[ref];
    if (profile.integer) {
      int64_t value = static_cast<int64_t>(bits & 0xfff);
      if (profile.kind == Kind::kUpDownCounter) value -= 0x800;
      integers.mutable_refs()->AddAlreadyReserved(ref);
      integers.mutable_time_deltas()->AddAlreadyReserved(offset - last_integer);
      integers.mutable_values()->AddAlreadyReserved(value);
      last_integer = offset;
    } else {
      double value = durations_[bits & 0xfff];
      if (profile.kind == Kind::kUpDownCounter) value -= 0.5;
      floats.mutable_refs()->AddAlreadyReserved(ref);
      floats.mutable_time_deltas()->AddAlreadyReserved(offset - last_float);
      floats.mutable_values()->AddAlreadyReserved(value);
      last_float = offset;
    }
  }
}

}  // namespace weir::standalone
