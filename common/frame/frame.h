// A frame: what one group commit writes as one WAL record.
//
//   frame    = varint version · i64 seal time · sessions · slots · subframes
//   sessions = varint count, each: 16-byte id, varint sequence, u8 lifetime
//   slots    = varint count, ascending, each: varint slot, varint previous lsn,
//              varint samples, varint subframe bytes
//   subframe = definitions, then blocks until its end
//   definitions = varint count, each: varint number, length-prefixed series
//
// A series is defined once in every segment that uses it, in the subframe of
// its slot; blocks refer to it by number. `previous lsn` is the last frame of
// this WAL that held the slot, 0 for none: a reader that has not applied exactly
// that one has a gap. docs/formats/frame.md has every byte, with an example.
//
// Thread safety: thread-compatible; views live as long as the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/id128.h"
#include "common/frame/block.h"

namespace weir::frame {

struct SessionTag {};
using SessionId = Id128<SessionTag>;

// How long a session is remembered after its last batch.
enum class Lifetime : uint8_t {
  kSession = 0,  // StreamBatches
  kKey = 1,      // Push's idempotency key
  kContent = 2,  // a request known by its content, for protocols without a key
};

// The highest sequence number of a session whose batch is in the frame.
struct SessionMark {
  SessionId id;
  uint64_t sequence = 0;
  Lifetime lifetime = Lifetime::kSession;
  friend bool operator==(const SessionMark&, const SessionMark&) = default;
};

// A slot's part of a frame.
struct Range {
  int slot = 0;
  uint64_t previous_lsn = 0;
  uint64_t sample_count = 0;
  std::string_view subframe;
};

// A frame taken apart, without its samples decoded.
struct FrameView {
  absl::Time seal_time;
  std::vector<SessionMark> sessions;
  std::vector<Range> ranges;
};

struct Definition {
  uint32_t number = 0;
  std::string_view series;  // AppendSeries
};

// A subframe taken apart: its definitions, and its blocks still encoded.
struct SubframeView {
  std::vector<Definition> definitions;
  std::string_view blocks;
};

// A slot's part of a frame to be written: definitions it must carry, and the
// group's samples as encoded blocks.
struct SubframeParts {
  int slot = 0;
  uint64_t previous_lsn = 0;
  uint64_t sample_count = 0;
  std::vector<Definition> definitions;
  std::vector<std::string_view> blocks;
};

// Appends the frame. REQUIRES: parts ascending by slot, each with samples or, where
// many series are new at once, with definitions alone.
void AppendFrame(absl::Time seal_time, absl::Span<const SessionMark> sessions,
                 absl::Span<const SubframeParts> parts, std::string* out);

// Errors: DataLoss, naming what does not fit; FailedPrecondition for a version
// newer than this program.
absl::StatusOr<FrameView> ParseFrame(std::string_view payload);
absl::Status ParseSubframe(std::string_view subframe, SubframeView* out);

// The subframe without its samples: what a resume sends of frames that were
// applied already. Empty when it defines nothing.
absl::StatusOr<std::string> DefinitionsOnly(std::string_view subframe);

// One line for `weir wal inspect`.
std::string DescribeFrame(std::string_view payload);

}  // namespace weir::frame
