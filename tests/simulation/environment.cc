#include "tests/simulation/environment.h"

namespace weir::simulation {
namespace {

std::vector<EventSpan> Spans() {
  const int64_t start = absl::ToUnixSeconds(StartOfRun());
  std::vector<EventSpan> spans = {{start - 300, start + 300}};
  for (const int64_t ago : {3600, 86'400, 5 * 86'400}) {
    spans.push_back({start - ago, start - ago + 120});
  }
  return spans;
}

struct Field {
  std::string_view name;
  int64_t Counts::*count;
};
constexpr Field kFields[] = {
    {"crashes", &Counts::crashes},
    {"power_losses", &Counts::power_losses},
    {"refused_commits", &Counts::refused_commits},
    {"in_doubt_committed", &Counts::in_doubt_committed},
    {"in_doubt_aborted", &Counts::in_doubt_aborted},
    {"ghosts", &Counts::ghosts},
    {"takeovers", &Counts::takeovers},
    {"fencings", &Counts::fencings},
    {"drains", &Counts::drains},
    {"pauses", &Counts::pauses},
    {"broken_links", &Counts::broken_links},
    {"dark_links", &Counts::dark_links},
    {"torn_tails", &Counts::torn_tails},
    {"fsync_failures", &Counts::fsync_failures},
    {"rewinds", &Counts::rewinds},
    {"gaps", &Counts::gaps},
    {"resumes", &Counts::resumes},
    {"repeats", &Counts::repeats},
    {"derives", &Counts::derives},
    {"late_rows", &Counts::late_rows},
    {"trims", &Counts::trims},
    {"stalls", &Counts::stalls},
    {"clock_jumps", &Counts::clock_jumps},
    {"full_disks", &Counts::full_disks},
    {"store_outages", &Counts::store_outages},
    {"dropped_messages", &Counts::dropped_messages},
    {"completeness_checks", &Counts::completeness_checks},
    {"acked_samples", &Counts::acked_samples},
};

}  // namespace

void Counts::Add(const Counts& other) {
  for (const Field& field : kFields) this->*field.count += other.*field.count;
}

std::string Counts::ToString() const {
  std::string text;
  for (const Field& field : kFields) {
    StrAppend(&text, text.empty() ? "" : " ", field.name, "=", this->*field.count);
  }
  return text;
}

std::string Counts::Missing() const {
  std::string missing;
  for (const Field& field : kFields) {
    if (this->*field.count == 0) StrAppend(&missing, missing.empty() ? "" : ", ", field.name);
  }
  return missing;
}

Environment::Environment(uint64_t seed, Mutant mutant_under_test, bool traced)
    : start(StartOfRun()),
      mutant(mutant_under_test),
      trace(traced),
      random(seed),
      profile(Profile::Draw(random)),
      queue(start),
      oracle(profile.series_count, Spans()) {}

}  // namespace weir::simulation
