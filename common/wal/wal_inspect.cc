#include "common/wal/wal_inspect.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/wal/segment_reader.h"
#include "common/wal/wal_format.h"
#include "common/wal/wal_tail.h"

namespace weir::wal {
namespace {

// Goes over one directory; remembers what each segment leaves for the next.
class Inspector {
 public:
  Inspector(const InspectOptions& options, FileSystem& files,
            absl::FunctionRef<void(std::string_view)> print)
      : options_(options), files_(files), print_(print) {}

  absl::Status Run();

 private:
  absl::Status PrintCheckpoint();
  absl::Status PrintSegment(uint64_t number, bool last);
  absl::Status PrintBadPlace(SegmentReader& reader, uint64_t size, bool last, bool* finished);
  void PrintRecord(const SegmentReader& reader);
  void Damaged(std::string_view what) {
    ++damage_count_;
    print_(StrCat("  DAMAGE ", what));
  }

  const InspectOptions& options_;
  FileSystem& files_;
  const absl::FunctionRef<void(std::string_view)> print_;

  uint64_t trim_lsn_ = 0;
  uint64_t proven_lsn_ = 0;  // known to have been durable
  uint64_t next_lsn_ = 0;    // that the next segment must begin at; 0 when not known
  uint32_t chain_ = 0;
  int damage_count_ = 0;
};

absl::Status Inspector::Run() {
  WEIR_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.directory));
  const bool any = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    uint64_t number = 0;
    return name == kCheckpointName || ParseSegmentName(name, &number);
  });
  if (!any) {
    return absl::NotFoundError(StrCat(options_.directory, " holds no log: no *.wal and no ",
                                      kCheckpointName, "; that of `weir run` is in DATA_DIR/wal"));
  }
  WEIR_RETURN_IF_ERROR(PrintCheckpoint());
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    uint64_t number = 0;
    if (ParseSegmentName(name, &number)) {
      numbers.push_back(number);
    } else if (name.ends_with(".torn")) {
      WEIR_ASSIGN_OR_RETURN(const uint64_t size,
                            files_.FileSize(StrCat(options_.directory, "/", name)));
      print_(StrCat(name, ": ", size, " bytes that recovery cut from the end of a log"));
    }
  }
  if (numbers.empty()) Damaged("no segment at all");
  for (size_t i = 0; i < numbers.size(); ++i) {
    WEIR_RETURN_IF_ERROR(PrintSegment(numbers[i], /*last=*/i + 1 == numbers.size()));
  }
  if (next_lsn_ != 0 && next_lsn_ <= proven_lsn_) {
    Damaged(StrCat("the log ends at lsn ", next_lsn_ - 1, ", but ", proven_lsn_,
                   " was durable: the newest segment is missing"));
  }
  if (damage_count_ == 0) return absl::OkStatus();
  return absl::DataLossError(StrCat(options_.directory, ": damaged in ", damage_count_, " places"));
}

absl::Status Inspector::PrintCheckpoint() {
  const absl::StatusOr<std::string> bytes =
      ReadWholeFile(files_, StrCat(options_.directory, "/", kCheckpointName),
                    kCheckpointHeaderBytes + kMaxStateBytes);
  if (absl::IsNotFound(bytes.status())) {
    print_("CHECKPOINT: none; nothing has been forgotten");
    return absl::OkStatus();
  }
  WEIR_RETURN_IF_ERROR(bytes.status());
  const absl::StatusOr<CheckpointRecord> checkpoint = ParseCheckpoint(*bytes);
  if (!checkpoint.ok()) {
    print_("CHECKPOINT:");
    Damaged(StdView(checkpoint.status().message()));
    return absl::OkStatus();
  }
  trim_lsn_ = checkpoint->trim_lsn;
  proven_lsn_ = checkpoint->durable_lsn;
  print_(StrCat("CHECKPOINT: log ", checkpoint->id.ToHex(), ", trim_lsn ", trim_lsn_,
                ", written at durable_lsn ", proven_lsn_, ", ", checkpoint->state.size(),
                " bytes of state"));
  return absl::OkStatus();
}

absl::Status Inspector::PrintSegment(uint64_t number, bool last) {
  const std::string name = SegmentName(number);
  absl::StatusOr<std::unique_ptr<SegmentReader>> opened =
      SegmentReader::Open(files_, options_.directory, number);
  if (!opened.ok()) {
    if (absl::IsUnavailable(opened.status())) return opened.status();
    print_(StrCat(name, ":"));
    Damaged(StdView(opened.status().message()));
    next_lsn_ = 0;
    return absl::OkStatus();
  }
  SegmentReader& reader = **opened;
  const SegmentHeader& header = reader.segment();
  WEIR_ASSIGN_OR_RETURN(const uint64_t size, files_.FileSize(reader.path()));
  print_(StrCat(name, ": log ", header.id.ToHex(), ", first lsn ", header.first_lsn, ", ", size,
                " bytes, tag '", header.tag, "'"));
  // Below the trim point segments may be missing: that is what it is for.
  const uint64_t expected = std::max(next_lsn_, trim_lsn_ + 1);
  if (header.first_lsn > expected) {
    Damaged(StrCat("lsns ", expected, " to ", header.first_lsn - 1, " are missing before it"));
  } else if (next_lsn_ != 0 && header.first_lsn == next_lsn_ && header.chain != chain_) {
    Damaged("does not continue the segment before it");
  }

  uint64_t records = 0;
  bool finished = false;
  while (!finished) {
    WEIR_ASSIGN_OR_RETURN(const SegmentReader::Result result, reader.Next());
    if (result == SegmentReader::Result::kEnd) break;
    if (result == SegmentReader::Result::kBad) {
      WEIR_RETURN_IF_ERROR(PrintBadPlace(reader, size, last, &finished));
      if (finished) break;
    }
    ++records;
    if (options_.list_records) PrintRecord(reader);
  }
  print_(records == 0 ? "  no records"
                      : StrCat("  ", records, " records up to lsn ", reader.next_lsn() - 1));
  next_lsn_ = reader.next_lsn();
  chain_ = reader.chain();
  return absl::OkStatus();
}

// Says what is wrong where `reader` stands, and moves it to the next intact
// record, or sets `*finished` when there is none to go on with.
absl::Status Inspector::PrintBadPlace(SegmentReader& reader, uint64_t size, bool last,
                                      bool* finished) {
  const uint64_t offset = reader.offset();
  const uint64_t lsn = reader.next_lsn();
  const std::string why(reader.why());
  if (last) {
    // Another reader, as judging moves it: to the same place, by the same rules.
    WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<SegmentReader> judged,
                          SegmentReader::Open(files_, options_.directory, reader.segment().number));
    SegmentReader::Result result = SegmentReader::Result::kRecord;
    while (result == SegmentReader::Result::kRecord && judged->offset() < offset) {
      WEIR_ASSIGN_OR_RETURN(result, judged->Next());
    }
    if (judged->offset() == offset) {
      WEIR_ASSIGN_OR_RETURN(result, judged->Next());
      WEIR_ASSIGN_OR_RETURN(const TailVerdict verdict, JudgeTail(*judged, size, proven_lsn_));
      if (!verdict.damage) {
        print_(StrCat("  unfinished at offset ", offset, ": ", why, "; ", size - offset,
                      " bytes that opening the log would cut",
                      verdict.without_marks ? ", though they do not look torn" : ""));
        *finished = true;
        return absl::OkStatus();
      }
    }
  }
  WEIR_ASSIGN_OR_RETURN(const SegmentReader::Result result, reader.Resync(offset + 8));
  if (result == SegmentReader::Result::kEnd) {
    Damaged(StrCat("at offset ", offset, ": lsn ", lsn, ": ", why,
                   "; no intact record after it in this segment"));
    *finished = true;
    return absl::OkStatus();
  }
  const uint64_t found = reader.header().lsn;
  Damaged(StrCat("at offset ", offset, ": lsn ", lsn, ": ", why, "; ", found - lsn,
                 " records lost, the next intact one is lsn ", found));
  return absl::OkStatus();
}

void Inspector::PrintRecord(const SegmentReader& reader) {
  const RecordHeader& header = reader.header();
  print_(StrCat("  lsn ", header.lsn, " at offset ", reader.offset() - RecordBytes(header.length),
                ": ", header.length, " bytes, durable_lsn ", header.durable_lsn,
                options_.describe ? ": " + options_.describe(reader.payload()) : ""));
}

}  // namespace

absl::Status Inspect(const InspectOptions& options, FileSystem& files,
                     absl::FunctionRef<void(std::string_view line)> print) {
  return Inspector(options, files, print).Run();
}

}  // namespace weir::wal
