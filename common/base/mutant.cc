#include "common/base/mutant.h"

#include <cstddef>

#include "common/base/check.h"

namespace weir {
namespace {

// No default: an enumerator without a name does not compile (-Wswitch, an error).
// The empty name is that of no enumerator.
constexpr std::string_view Name(Mutant mutant) {
  switch (mutant) {
    case Mutant::kNone:
      return "none";
    case Mutant::kForwardBeforeSync:
      return "forward_before_sync";
    case Mutant::kAckBeforeSync:
      return "ack_before_sync";
    case Mutant::kNoRecoverySync:
      return "no_recovery_sync";
    case Mutant::kIgnoreSyncError:
      return "ignore_sync_error";
    case Mutant::kNoDirectorySync:
      return "no_directory_sync";
    case Mutant::kNoSessionDedupe:
      return "no_session_dedupe";
    case Mutant::kSessionsForgottenAtTrim:
      return "sessions_forgotten_at_trim";
    case Mutant::kVolatileSessionsAtTrim:
      return "volatile_sessions_at_trim";
    case Mutant::kTrimBeforeAck:
      return "trim_before_ack";
    case Mutant::kKeepTornTail:
      return "keep_torn_tail";
    case Mutant::kNoGapCheck:
      return "no_gap_check";
    case Mutant::kSilentGap:
      return "silent_gap";
    case Mutant::kNoAppliedCheck:
      return "no_applied_check";
    case Mutant::kAckBeforeCommit:
      return "ack_before_commit";
    case Mutant::kHeartbeatResetsProgress:
      return "heartbeat_resets_progress";
    case Mutant::kNoCompareAndSet:
      return "no_compare_and_set";
    case Mutant::kAssumeCommitted:
      return "assume_committed";
    case Mutant::kWatermarkApart:
      return "watermark_apart";
    case Mutant::kNoEpochCheck:
      return "no_epoch_check";
    case Mutant::kDeriveTwice:
      return "derive_twice";
    case Mutant::kLateSkipsDerived:
      return "late_skips_derived";
    case Mutant::kFloorUnchecked:
      return "floor_unchecked";
  }
  return {};
}

}  // namespace

std::string_view MutantName(Mutant mutant) {
  const std::string_view name = Name(mutant);
  WEIR_CHECK(!name.empty());
  return name;
}

std::optional<Mutant> MutantFromName(std::string_view name) {
  if (name.empty()) return std::nullopt;
  // The enumerators count up from 0; the first value without a name ends them.
  for (int value = 0; !Name(static_cast<Mutant>(value)).empty(); ++value) {
    const Mutant mutant = static_cast<Mutant>(value);
    if (Name(mutant) == name) return mutant;
  }
  return std::nullopt;
}

}  // namespace weir
