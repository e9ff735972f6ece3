// The bytes of a log on disk: segment headers, record headers, the checkpoint.
// docs/formats/wal.md is the same, for people; a change of either is a new
// kFormatVersion and new golden files.
//
//   segment   = segment header (128 bytes), record*
//   record    = record header (32 bytes), payload, zero bytes up to a multiple of 8
//   CHECKPOINT = checkpoint header (64 bytes), state
//
// All integers are little-endian.
//
// Thread safety: pure functions and values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/id128.h"
#include "common/wal/wal.h"

namespace weir::wal {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr size_t kSegmentHeaderBytes = 128;
inline constexpr size_t kRecordHeaderBytes = 32;
inline constexpr size_t kCheckpointHeaderBytes = 64;
inline constexpr size_t kMaxTagBytes = 64;
// The most an application may keep in a checkpoint.
inline constexpr size_t kMaxStateBytes = size_t{64} << 20;
inline constexpr std::string_view kCheckpointName = "CHECKPOINT";
inline constexpr std::string_view kLockName = "LOCK";

struct SegmentHeader {
  WalId id;
  uint64_t number = 0;
  uint64_t first_lsn = 0;
  uint32_t chain = 0;  // what the first record's chain field must hold
  std::string tag;
};

// Appends kSegmentHeaderBytes to `*out`. REQUIRES: tag.size() <= kMaxTagBytes.
void AppendSegmentHeader(const SegmentHeader& header, std::string* out);

// Errors:
//   FailedPrecondition  a newer format version, or another byte order.
//   DataLoss            anything else that is not a segment header.
absl::StatusOr<SegmentHeader> ParseSegmentHeader(std::string_view bytes);

// A record's checksum starts from this instead of 0, so that a record of
// another log or another segment, however intact, is none here.
uint32_t SegmentSeed(const WalId& id, uint64_t number);

// The chain value of a log without records.
uint32_t FirstChain(const WalId& id);

struct RecordHeader {
  uint32_t crc = 0;     // of the rest of the header and the payload
  uint32_t length = 0;  // of the payload
  uint32_t chain = 0;   // the crc of the record before it, or FirstChain
  uint64_t lsn = 0;
  uint64_t durable_lsn = 0;  // what was durable when this record was written
};

// Payload bytes plus header and padding.
inline constexpr uint64_t RecordBytes(uint64_t length) {
  return (kRecordHeaderBytes + length + 7) / 8 * 8;
}

// Appends one record to `*out` and returns its crc: the next record's chain.
// `header.crc` and `header.length` are computed.
// REQUIRES: the pieces are 1 to kMaxRecordBytes in all.
uint32_t AppendRecord(RecordHeader header, const std::vector<std::string_view>& pieces,
                      uint32_t seed, std::string* out);

// Reads the header at the start of `bytes`. Returns false when these are not
// the first bytes of any record: no marker, a length out of bounds, or an lsn
// that was durable before it was written.
// REQUIRES: bytes.size() >= kRecordHeaderBytes.
bool ParseRecordHeader(std::string_view bytes, RecordHeader* header);

// Whether `bytes`, header and payload without padding, has the checksum it says.
bool RecordIntact(const RecordHeader& header, std::string_view bytes, uint32_t seed);

// The content of CHECKPOINT. `durable_lsn` is what was durable when it was
// written: proof that the log once reached that far.
struct CheckpointRecord {
  WalId id;
  uint64_t trim_lsn = 0;
  uint64_t durable_lsn = 0;
  std::string state;
};

std::string EncodeCheckpoint(const CheckpointRecord& checkpoint);
// Errors: as ParseSegmentHeader.
absl::StatusOr<CheckpointRecord> ParseCheckpoint(std::string_view bytes);

// "00000000000000000042.wal", and back; false for a name that is none.
std::string SegmentName(uint64_t number);
bool ParseSegmentName(std::string_view name, uint64_t* number);

}  // namespace weir::wal
