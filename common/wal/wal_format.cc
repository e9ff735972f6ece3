#include "common/wal/wal_format.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::wal {
namespace {

// "weir-wal" and "weir-cpt" as they lie in the file.
constexpr std::string_view kSegmentMagic = "weir-wal";
constexpr std::string_view kCheckpointMagic = "weir-cpt";
// Read back as another number on a machine of the other byte order.
constexpr uint32_t kByteOrder = 0x01020304;
// Starts every record: "rec\x01" as it lies in the file. Lets a reader that lost
// its place find the next record cheaply.
constexpr uint32_t kRecordMarker = 0x01636572;
constexpr size_t kRecordCrcOffset = 4;
constexpr std::string_view kPadding("\0\0\0\0\0\0\0", 7);

// What segment and checkpoint headers begin with: magic, version, byte order.
absl::Status CheckPreamble(std::string_view bytes, std::string_view magic) {
  ByteReader reader(bytes);
  if (reader.Bytes(magic.size()) != magic) {
    return absl::DataLossError(StrCat("does not begin with '", magic, "'"));
  }
  const uint32_t version = reader.Fixed<uint32_t>();
  const uint32_t byte_order = reader.Fixed<uint32_t>();
  if (!reader.ok()) return absl::DataLossError("shorter than its header");
  if (byte_order != kByteOrder) {
    return absl::FailedPreconditionError("written on a machine of another byte order");
  }
  if (version > kFormatVersion) {
    return absl::FailedPreconditionError(StrCat("format version ", version,
                                                ", but this program reads up to version ",
                                                kFormatVersion, "; run the release that wrote it"));
  }
  if (version == 0) return absl::DataLossError("format version 0");
  return absl::OkStatus();
}

void AppendPreamble(std::string_view magic, std::string* out) {
  out->append(magic);
  AppendFixed(kFormatVersion, out);
  AppendFixed(kByteOrder, out);
}

}  // namespace

void AppendSegmentHeader(const SegmentHeader& header, std::string* out) {
  WEIR_CHECK(header.tag.size() <= kMaxTagBytes);
  const size_t start = out->size();
  AppendPreamble(kSegmentMagic, out);
  out->append(header.id.ToBytes());
  AppendFixed(header.number, out);
  AppendFixed(header.first_lsn, out);
  AppendFixed(header.chain, out);
  AppendFixed(static_cast<uint32_t>(header.tag.size()), out);
  out->append(header.tag);
  out->append(kMaxTagBytes - header.tag.size(), '\0');
  AppendFixed(uint32_t{0}, out);  // reserved
  AppendFixed(Crc32c(std::string_view(*out).substr(start)), out);
  WEIR_CHECK(out->size() - start == kSegmentHeaderBytes);
}

absl::StatusOr<SegmentHeader> ParseSegmentHeader(std::string_view bytes) {
  WEIR_RETURN_IF_ERROR(CheckPreamble(bytes, kSegmentMagic));
  if (bytes.size() < kSegmentHeaderBytes) return absl::DataLossError("shorter than its header");
  bytes = bytes.substr(0, kSegmentHeaderBytes);
  const uint32_t crc = LoadFixed<uint32_t>(bytes.data() + kSegmentHeaderBytes - 4);
  if (Crc32c(bytes.substr(0, kSegmentHeaderBytes - 4)) != crc) {
    return absl::DataLossError("checksum mismatch in the segment header");
  }
  ByteReader reader(bytes.substr(16));
  SegmentHeader header;
  header.id = WalId::FromBytes(reader.Bytes(16));
  header.number = reader.Fixed<uint64_t>();
  header.first_lsn = reader.Fixed<uint64_t>();
  header.chain = reader.Fixed<uint32_t>();
  const uint32_t tag_bytes = reader.Fixed<uint32_t>();
  if (tag_bytes > kMaxTagBytes || header.first_lsn == 0) {
    return absl::DataLossError("impossible values in the segment header");
  }
  header.tag = std::string(reader.Bytes(tag_bytes));
  return header;
}

uint32_t SegmentSeed(const WalId& id, uint64_t number) {
  std::string bytes = id.ToBytes();
  AppendFixed(number, &bytes);
  return Crc32c(bytes);
}

uint32_t FirstChain(const WalId& id) { return Crc32c(id.ToBytes()); }

uint32_t AppendRecord(RecordHeader header, const std::vector<std::string_view>& pieces,
                      uint32_t seed, std::string* out) {
  size_t length = 0;
  for (const std::string_view piece : pieces) length += piece.size();
  WEIR_CHECK(length > 0 && length <= kMaxRecordBytes);
  const size_t start = out->size();
  out->reserve(start + RecordBytes(length));
  AppendFixed(kRecordMarker, out);
  AppendFixed(uint32_t{0}, out);  // the crc, below
  AppendFixed(static_cast<uint32_t>(length), out);
  AppendFixed(header.chain, out);
  AppendFixed(header.lsn, out);
  AppendFixed(header.durable_lsn, out);
  for (const std::string_view piece : pieces) out->append(piece);
  const uint32_t crc = Crc32c(std::string_view(*out).substr(start), seed);
  StoreFixed(crc, out->data() + start + kRecordCrcOffset);
  out->append(kPadding.substr(0, RecordBytes(length) - kRecordHeaderBytes - length));
  return crc;
}

bool ParseRecordHeader(std::string_view bytes, RecordHeader* header) {
  ByteReader reader(bytes);
  if (reader.Fixed<uint32_t>() != kRecordMarker) return false;
  header->crc = reader.Fixed<uint32_t>();
  header->length = reader.Fixed<uint32_t>();
  header->chain = reader.Fixed<uint32_t>();
  header->lsn = reader.Fixed<uint64_t>();
  header->durable_lsn = reader.Fixed<uint64_t>();
  // Before anyone allocates for it.
  return header->length > 0 && header->length <= kMaxRecordBytes &&
         header->durable_lsn < header->lsn;
}

bool RecordIntact(const RecordHeader& header, std::string_view bytes, uint32_t seed) {
  // The checksum was taken while its own field was zero.
  const uint32_t before = Crc32c(bytes.substr(0, kRecordCrcOffset), seed);
  const uint32_t field = Crc32c(std::string_view("\0\0\0\0", 4), before);
  return Crc32c(bytes.substr(kRecordCrcOffset + 4), field) == header.crc;
}

std::string EncodeCheckpoint(const CheckpointRecord& checkpoint) {
  std::string out;
  AppendPreamble(kCheckpointMagic, &out);
  out.append(checkpoint.id.ToBytes());
  AppendFixed(checkpoint.trim_lsn, &out);
  AppendFixed(checkpoint.durable_lsn, &out);
  AppendFixed(static_cast<uint64_t>(checkpoint.state.size()), &out);
  AppendFixed(uint32_t{0}, &out);  // reserved
  AppendFixed(Crc32c(checkpoint.state, Crc32c(out)), &out);
  WEIR_CHECK(out.size() == kCheckpointHeaderBytes);
  out.append(checkpoint.state);
  return out;
}

absl::StatusOr<CheckpointRecord> ParseCheckpoint(std::string_view bytes) {
  WEIR_RETURN_IF_ERROR(CheckPreamble(bytes, kCheckpointMagic));
  if (bytes.size() < kCheckpointHeaderBytes) return absl::DataLossError("shorter than its header");
  const std::string_view state = bytes.substr(kCheckpointHeaderBytes);
  const std::string_view covered = bytes.substr(0, kCheckpointHeaderBytes - 4);
  if (Crc32c(state, Crc32c(covered)) != LoadFixed<uint32_t>(covered.data() + covered.size())) {
    return absl::DataLossError("checksum mismatch");
  }
  ByteReader reader(bytes.substr(16));
  CheckpointRecord checkpoint;
  checkpoint.id = WalId::FromBytes(reader.Bytes(16));
  checkpoint.trim_lsn = reader.Fixed<uint64_t>();
  checkpoint.durable_lsn = reader.Fixed<uint64_t>();
  if (reader.Fixed<uint64_t>() != state.size() || checkpoint.trim_lsn > checkpoint.durable_lsn) {
    return absl::DataLossError("impossible values in the checkpoint");
  }
  checkpoint.state = std::string(state);
  return checkpoint;
}

std::string SegmentName(uint64_t number) { return absl::StrFormat("%020d.wal", number); }

bool ParseSegmentName(std::string_view name, uint64_t* number) {
  constexpr size_t kDigits = 20;
  if (name.size() != kDigits + 4 || name.substr(kDigits) != ".wal") return false;
  const std::string_view digits = name.substr(0, kDigits);
  return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
         absl::SimpleAtoi(AbslView(digits), number);
}

}  // namespace weir::wal
