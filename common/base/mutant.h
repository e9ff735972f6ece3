// The test switch that removes one safeguard, so that the simulation can prove
// that it would notice. Production passes kNone everywhere.
#pragma once

#include <optional>
#include <string_view>

namespace weir {

// Each value names the safeguard it removes; the comment says what then breaks.
enum class Mutant {
  kNone,
  // WAL and collector.
  kForwardBeforeSync,        // frames leave before they are durable: a reused LSN is swallowed
  kAckBeforeSync,            // clients are acked before fdatasync: power loss loses what was acked
  kNoRecoverySync,           // recovered frames are served from the page cache only
  kIgnoreSyncError,          // a failed fsync is treated as a success
  kNoDirectorySync,          // a new segment's name may vanish with a power loss
  kNoSessionDedupe,          // a retry is counted again
  kSessionsForgottenAtTrim,  // the checkpoint leaves the session table out
  kVolatileSessionsAtTrim,   // the checkpoint holds the session table as of now, not of the trim
  kTrimBeforeAck,            // segments are unlinked before the store has committed them
  kKeepTornTail,             // a torn tail is left in place and appended to
  // Delivery.
  kNoGapCheck,               // the aggregator accepts a frame whose predecessor it has not seen
  kSilentGap,                // a gap is dropped without asking for a resume
  kNoAppliedCheck,           // a frame that was applied already is folded again
  kAckBeforeCommit,          // the aggregator acks what it has folded but not committed
  kHeartbeatResetsProgress,  // a stalled stream is never torn down
  // Flush and store.
  kNoCompareAndSet,   // the flush does not check the old watermark
  kAssumeCommitted,   // an in-doubt commit is taken as committed
  kWatermarkApart,    // the watermark is written in a transaction of its own
  kNoEpochCheck,      // a zombie aggregator's flush is not fenced
  kDeriveTwice,       // derivation does not compare-and-set derived_until
  kLateSkipsDerived,  // late data is not added to tiers already derived past it
  kFloorUnchecked,    // a flush does not notice that retention passed it
};

// The switch's spelling on a command line ("no_gap_check"), one per value, and
// back; nullopt for a name that is none.
std::string_view MutantName(Mutant mutant);
std::optional<Mutant> MutantFromName(std::string_view name);

}  // namespace weir
