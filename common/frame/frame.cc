#include "common/frame/frame.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace weir::frame {
namespace {

// Version 2 may have blocks of points and sessions of the third lifetime; otherwise
// it is version 1.
constexpr uint64_t kVersion = 2;

// The least each element takes. A count of elements is checked against the
// bytes that are left before anything is reserved for it.
constexpr size_t kMinSessionBytes = 16 + 1 + 1;
constexpr size_t kMinSlotBytes = 4;
constexpr size_t kMinDefinitionBytes = 2;
constexpr size_t kMinSampleBytes = 3;  // one for each column

absl::Status Malformed(const char* what) {
  return absl::DataLossError(absl::StrCat("frame: ", what));
}

void AppendDefinitions(absl::Span<const Definition> definitions, std::string* out) {
  AppendVarint(definitions.size(), out);
  for (const Definition& definition : definitions) {
    AppendVarint(definition.number, out);
    AppendLengthPrefixed(definition.series, out);
  }
}

absl::Status ReadSessions(ByteReader* reader, std::vector<SessionMark>* sessions) {
  const uint64_t count = reader->Varint();
  if (count > reader->rest().size() / kMinSessionBytes) {
    return Malformed("more sessions than bytes");
  }
  sessions->reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view id = reader->Bytes(16);
    const uint64_t sequence = reader->Varint();
    const uint8_t lifetime = reader->Fixed<uint8_t>();
    if (!reader->ok()) return Malformed("its sessions are cut short");
    if (lifetime > static_cast<uint8_t>(Lifetime::kContent)) return Malformed("unknown lifetime");
    sessions->push_back({.id = SessionId::FromBytes(id),
                         .sequence = sequence,
                         .lifetime = static_cast<Lifetime>(lifetime)});
  }
  return absl::OkStatus();
}

// Reads the slots, then cuts their subframes from what follows.
absl::Status ReadRanges(ByteReader* reader, std::vector<Range>* ranges) {
  const uint64_t count = reader->Varint();
  if (count > reader->rest().size() / kMinSlotBytes) return Malformed("more slots than bytes");
  ranges->reserve(count);
  std::vector<uint64_t> subframe_bytes;
  subframe_bytes.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t slot = reader->Varint();
    const uint64_t previous_lsn = reader->Varint();
    const uint64_t sample_count = reader->Varint();
    subframe_bytes.push_back(reader->Varint());
    if (!reader->ok()) return Malformed("its slots are cut short");
    if (slot > std::numeric_limits<int>::max()) return Malformed("impossible slot");
    if (i > 0 && slot <= static_cast<uint64_t>(ranges->back().slot)) {
      return Malformed("its slots do not ascend");
    }
    if (sample_count > subframe_bytes.back() / kMinSampleBytes) {
      return Malformed("impossible sample count");
    }
    ranges->push_back({.slot = static_cast<int>(slot),
                       .previous_lsn = previous_lsn,
                       .sample_count = sample_count,
                       .subframe = {}});
  }
  for (uint64_t i = 0; i < count; ++i) {
    (*ranges)[i].subframe = reader->Bytes(subframe_bytes[i]);
  }
  if (!reader->ok()) return Malformed("its subframes are cut short");
  if (!reader->empty()) return Malformed("bytes after its last subframe");
  return absl::OkStatus();
}

}  // namespace

void AppendFrame(absl::Time seal_time, absl::Span<const SessionMark> sessions,
                 absl::Span<const SubframeParts> parts, std::string* out) {
  AppendVarint(kVersion, out);
  AppendFixed(absl::ToUnixNanos(seal_time), out);
  AppendVarint(sessions.size(), out);
  for (const SessionMark& session : sessions) {
    out->append(session.id.ToBytes());
    AppendVarint(session.sequence, out);
    AppendFixed(session.lifetime, out);
  }

  // A slot's size comes before its bytes, so definitions are encoded first,
  // end to end; blocks are encoded already.
  std::string definitions;
  std::vector<size_t> definition_bytes;
  definition_bytes.reserve(parts.size());
  size_t block_bytes = 0;
  AppendVarint(parts.size(), out);
  for (size_t i = 0; i < parts.size(); ++i) {
    const SubframeParts& part = parts[i];
    WEIR_CHECK(part.slot >= 0 && (i == 0 || parts[i - 1].slot < part.slot));
    WEIR_CHECK(part.sample_count > 0 || !part.definitions.empty());
    const size_t definitions_begin = definitions.size();
    AppendDefinitions(part.definitions, &definitions);
    definition_bytes.push_back(definitions.size() - definitions_begin);
    size_t subframe_bytes = definition_bytes.back();
    for (const std::string_view block : part.blocks) subframe_bytes += block.size();
    block_bytes += subframe_bytes - definition_bytes.back();
    AppendVarint(static_cast<uint64_t>(part.slot), out);
    AppendVarint(part.previous_lsn, out);
    AppendVarint(part.sample_count, out);
    AppendVarint(subframe_bytes, out);
  }

  out->reserve(out->size() + definitions.size() + block_bytes);
  size_t definitions_begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    out->append(definitions, definitions_begin, definition_bytes[i]);
    definitions_begin += definition_bytes[i];
    for (const std::string_view block : parts[i].blocks) out->append(block);
  }
}

absl::StatusOr<FrameView> ParseFrame(std::string_view payload) {
  ByteReader reader(payload);
  const uint64_t version = reader.Varint();
  if (!reader.ok() || version == 0) return Malformed("no version");
  if (version > kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("frame: version ", version, ", this program reads up to ", kVersion));
  }
  FrameView view;
  view.seal_time = absl::FromUnixNanos(reader.Fixed<int64_t>());
  WEIR_RETURN_IF_ERROR(ReadSessions(&reader, &view.sessions));
  WEIR_RETURN_IF_ERROR(ReadRanges(&reader, &view.ranges));
  return view;
}

absl::Status ParseSubframe(std::string_view subframe, SubframeView* out) {
  out->definitions.clear();
  out->blocks = {};
  ByteReader reader(subframe);
  const uint64_t count = reader.Varint();
  if (count > reader.rest().size() / kMinDefinitionBytes) {
    return Malformed("more definitions than bytes");
  }
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t number = reader.Varint();
    const std::string_view series = reader.LengthPrefixed();
    if (!reader.ok()) break;
    if (number > std::numeric_limits<uint32_t>::max()) return Malformed("impossible series number");
    out->definitions.push_back({.number = static_cast<uint32_t>(number), .series = series});
  }
  if (!reader.ok()) return Malformed("its definitions are cut short");
  out->blocks = reader.rest();
  return absl::OkStatus();
}

absl::StatusOr<std::string> DefinitionsOnly(std::string_view subframe) {
  SubframeView view;
  WEIR_RETURN_IF_ERROR(ParseSubframe(subframe, &view));
  if (view.definitions.empty()) return std::string();
  return std::string(subframe.substr(0, subframe.size() - view.blocks.size()));
}

std::string DescribeFrame(std::string_view payload) {
  const absl::StatusOr<FrameView> view = ParseFrame(payload);
  if (!view.ok()) return absl::StrCat("not a frame: ", view.status().message());
  std::string line = absl::StrCat(
      "sealed ", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", view->seal_time, absl::UTCTimeZone()),
      " sessions=", view->sessions.size(), " slots=", view->ranges.size());
  Block block;
  for (const Range& range : view->ranges) {
    absl::StrAppend(&line, " | slot ", range.slot, " after ", range.previous_lsn, ": ");
    SubframeView subframe;
    absl::Status status = ParseSubframe(range.subframe, &subframe);
    ByteReader reader(subframe.blocks);
    uint64_t block_count = 0;
    uint64_t sample_count = 0;
    while (status.ok() && !reader.empty()) {
      status = ReadBlock(&reader, &block);
      if (!status.ok()) break;
      ++block_count;
      sample_count += block.size();
    }
    if (!status.ok()) {
      absl::StrAppend(&line, status.message());
      continue;
    }
    absl::StrAppend(&line, "definitions=", subframe.definitions.size(), " blocks=", block_count,
                    " samples=", sample_count);
    if (sample_count != range.sample_count) {
      absl::StrAppend(&line, " (its header says ", range.sample_count, ")");
    }
  }
  return line;
}

}  // namespace weir::frame
