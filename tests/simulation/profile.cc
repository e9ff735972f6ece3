#include "tests/simulation/profile.h"

#include "common/base/check.h"

namespace weir::simulation {

Profile Profile::Draw(Random& random) {
  const auto either = [&](auto a, auto b) { return random.OneIn(2) ? a : b; };
  Profile profile;
  profile.slot_count = static_cast<int>(random.Between(1, 4));
  profile.collector_count = static_cast<int>(random.Between(1, 2));
  profile.session_client_count = static_cast<int>(random.Between(1, 3));
  profile.push_client_count = static_cast<int>(random.Below(3));
  profile.series_count = static_cast<int>(random.Between(2, 8));
  profile.load_time = absl::Milliseconds(random.Between(8'000, 50'000));
  profile.mean_batch_interval = absl::Milliseconds(random.Between(60, 500));
  profile.mean_fault_interval = absl::Milliseconds(random.Between(200, 1500));
  for (int& weight : profile.fault_weights) {
    weight = random.OneIn(3) ? 0 : static_cast<int>(random.Between(1, 4));
    profile.fault_weight_sum += weight;
  }
  if (random.OneIn(4)) {
    // A world in which the network and the processes are well: nothing but the
    // store and the load make trouble.
    for (int& weight : profile.fault_weights) weight = 0;
    profile.fault_weight_sum = 0;
  }
  profile.commits_refused = either(0, static_cast<int>(random.Below(30)));
  profile.commits_answer_lost = either(0, static_cast<int>(random.Below(60)));
  profile.commits_undone = either(0, static_cast<int>(random.Below(60)));
  profile.commits_ghost = either(0, static_cast<int>(random.Below(60)));
  profile.messages_dropped = random.OneIn(4) ? static_cast<int>(random.Between(20, 200)) : 0;
  profile.stops_after_trim_percent = random.OneIn(3) ? 20 : 0;
  profile.late_percent = either(2, static_cast<int>(random.Between(10, 50)));

  profile.segment_bytes = random.Between(4 << 10, 12 << 10);
  profile.quota_bytes = random.OneIn(4) ? 2 * profile.segment_bytes + random.Below(16 << 10) : 0;
  profile.max_queued_bytes =
      either(int64_t{1} << 20, static_cast<int64_t>(random.Between(600, 3000)));
  profile.window_bytes = either(int64_t{1} << 20, static_cast<int64_t>(random.Between(1000, 4000)));
  profile.flush_memory_bytes =
      either(int64_t{1} << 30, static_cast<int64_t>(random.Between(1, 30'000)));
  profile.derive_rows_per_job =
      either(int64_t{1} << 20, static_cast<int64_t>(random.Between(1, 10)));
  profile.max_group_bytes = either(int64_t{1} << 20, static_cast<int64_t>(random.Between(1, 3000)));
  profile.max_sync_time = absl::Milliseconds(random.Between(1, 60));
  profile.max_store_time = absl::Milliseconds(random.Between(1, 300));
  profile.max_network_delay = absl::Milliseconds(random.Between(1, 80));
  return profile;
}

const TierTable& SimulatedTiers() {
  static const TierTable* const tiers = [] {
    absl::StatusOr<TierTable> table = TierTable::Create({
        {.window = "1s", .window_seconds = 10, .bin_seconds = 1, .retention_seconds = 12},
        {.window = "5s", .window_seconds = 30, .bin_seconds = 5, .retention_seconds = 40},
        {.window = "30s",
         .window_seconds = 300,
         .bin_seconds = 30,
         .retention_seconds = 100 * 86'400},
    });
    WEIR_CHECK_OK(table.status());
    return new TierTable(*std::move(table));
  }();
  return *tiers;
}

}  // namespace weir::simulation
