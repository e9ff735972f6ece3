#include "services/collector/log_writer.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::collector {

LogWriter::LogWriter(wal::Wal& log, SeriesTable& series, SessionLifetimes lifetimes, Mutant mutant)
    : log_(log),
      series_(series),
      lifetimes_(lifetimes),
      mutant_(mutant),
      recovered_(series.slot_count()),
      trimmed_(series.slot_count()),
      samples_(series.slot_count()) {}

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Open(wal::Wal& log, SeriesTable& series,
                                                           SessionLifetimes lifetimes,
                                                           Mutant mutant) {
  auto writer = std::unique_ptr<LogWriter>(new LogWriter(log, series, lifetimes, mutant));
  WEIR_RETURN_IF_ERROR(writer->Recover());
  return writer;
}

absl::Status LogWriter::Recover() {
  WEIR_ASSIGN_OR_RETURN(trimmed_, LogState::Decode(log_.checkpoint().state, series_.slot_count()));
  recovered_ = trimmed_;
  const uint64_t trim_lsn = log_.trim_lsn();
  last_lsn_ = log_.durable_lsn();
  if (last_lsn_ > trim_lsn) {
    WEIR_ASSIGN_OR_RETURN(const auto reader, wal::WalReader::OpenAtSegmentOf(log_, trim_lsn + 1));
    wal::Record record;
    while (true) {
      WEIR_ASSIGN_OR_RETURN(const bool found, reader->Next(&record));
      if (!found) break;
      if (record.lsn <= trim_lsn) continue;
      WEIR_ASSIGN_OR_RETURN(const frame::FrameView frame, frame::ParseFrame(record.payload));
      WEIR_RETURN_IF_ERROR(recovered_.Apply(record.lsn, frame));
    }
  }
  slot_last_ = recovered_.slot_last;
  last_seal_time_ = recovered_.last_seal_time;
  return absl::OkStatus();
}

absl::StatusOr<Written> LogWriter::Write(const Group& group, absl::Time now) {
  if (group.batches.empty() && group.sessions.empty()) {
    return Written{.lsn = last_lsn_, .seal_time = now};
  }
  absl::StatusOr<Written> written = WriteGathered(group, now);
  if (!written.ok()) {
    // What was not appended is for the next attempt to define.
    for (size_t i = defined_count_; i < missing_.size(); ++i) {
      defined_segments_[missing_[i].number] = 0;
    }
  }
  return written;
}

absl::StatusOr<Written> LogWriter::WriteGathered(const Group& group, absl::Time now) {
  // Seal times rise even when the clock does not: completeness hangs on it.
  const absl::Time seal_time = std::max(now, last_seal_time_ + absl::Nanoseconds(1));
  // All frames of a group go into one segment, however large it gets: a new one
  // would need every definition again, and the samples might never get their turn.
  missing_.clear();
  defined_count_ = 0;
  WEIR_ASSIGN_OR_RETURN(const wal::Position position, log_.Prepare());
  Gather(group, position.segment);

  const auto no_parts = std::vector<frame::SubframeParts>(static_cast<size_t>(slot_count()));
  std::vector<frame::SubframeParts> parts = no_parts;
  size_t definition_bytes = 0;
  for (size_t i = 0; i < missing_.size(); ++i) {
    const auto [number, slot] = missing_[i];
    const std::string_view bytes = series_.Definition(number);
    if (definition_bytes + bytes.size() > kMaxDefinitionBytes) {
      WEIR_RETURN_IF_ERROR(Append(std::exchange(parts, no_parts), {}, seal_time));
      defined_count_ = i;
      definition_bytes = 0;
    }
    definition_bytes += bytes.size();
    parts[static_cast<size_t>(slot)].definitions.push_back({.number = number, .series = bytes});
  }
  for (int slot = 0; slot < slot_count(); ++slot) {
    frame::SubframeParts& part = parts[static_cast<size_t>(slot)];
    part.sample_count = samples_.sample_count(slot);
    part.blocks = samples_.blocks(slot);
  }
  WEIR_RETURN_IF_ERROR(Append(std::move(parts), group.sessions, seal_time));
  return Written{.lsn = last_lsn_, .seal_time = seal_time};
}

void LogWriter::Gather(const Group& group, uint64_t segment) {
  samples_.Clear();
  for (const AdmittedBatch& batch : group.batches) {
    for (const AdmittedSample& sample : batch.samples) {
      if (sample.series >= defined_segments_.size()) [[unlikely]] {
        defined_segments_.resize(static_cast<size_t>(series_.size()), 0);
      }
      uint64_t& defined = defined_segments_[sample.series];
      if (defined != segment) [[unlikely]] {
        defined = segment;
        missing_.push_back({.number = sample.series, .slot = sample.slot});
      }
      samples_.Add(sample, batch);
    }
  }
  samples_.Finish();
}

// `parts`: one for each slot, some perhaps with nothing to write.
absl::Status LogWriter::Append(std::vector<frame::SubframeParts> parts,
                               const std::vector<frame::SessionMark>& sessions,
                               absl::Time seal_time) {
  for (int slot = 0; slot < slot_count(); ++slot) {
    parts[static_cast<size_t>(slot)].slot = slot;
    parts[static_cast<size_t>(slot)].previous_lsn = slot_last_[static_cast<size_t>(slot)];
  }
  std::erase_if(parts, [](const frame::SubframeParts& part) {
    return part.sample_count == 0 && part.definitions.empty();
  });
  frame_.clear();
  frame::AppendFrame(seal_time, sessions, parts, &frame_);
  WEIR_RETURN_IF_ERROR(log_.Append({frame_}));
  ++last_lsn_;
  last_seal_time_ = seal_time;
  for (const frame::SubframeParts& part : parts) {
    slot_last_[static_cast<size_t>(part.slot)] = last_lsn_;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> LogWriter::Trim(uint64_t committed_lsn, absl::Time now,
                                     const SessionTable* volatile_sessions) {
  bool trimmed = false;
  if (mutant_ == Mutant::kTrimBeforeAck) committed_lsn = log_.durable_lsn();
  while (true) {
    const uint64_t last = log_.oldest_segment_last_lsn();
    if (last == 0 || last > committed_lsn || last <= log_.trim_lsn()) return trimmed;
    // The segment is read once more, so that the checkpoint's state is that of
    // the trim point and not of now.
    LogState state = trimmed_;
    WEIR_ASSIGN_OR_RETURN(const auto reader,
                          wal::WalReader::OpenAtSegmentOf(log_, log_.trim_lsn() + 1));
    wal::Record record;
    for (uint64_t lsn = 0; lsn < last;) {
      WEIR_ASSIGN_OR_RETURN(const bool found, reader->Next(&record));
      if (!found) return absl::InternalError(StrCat("lsn ", last, " cannot be read back"));
      lsn = record.lsn;
      if (lsn <= log_.trim_lsn()) continue;
      WEIR_ASSIGN_OR_RETURN(const frame::FrameView frame, frame::ParseFrame(record.payload));
      WEIR_RETURN_IF_ERROR(state.Apply(lsn, frame));
    }
    absl::erase_if(state.sessions,
                   [&](const auto& item) { return lifetimes_.Expired(item.second, now); });
    LogState written = state;
    if (mutant_ == Mutant::kSessionsForgottenAtTrim) written.sessions.clear();
    if (mutant_ == Mutant::kVolatileSessionsAtTrim && volatile_sessions != nullptr) {
      written.sessions = *volatile_sessions;
    }
    WEIR_RETURN_IF_ERROR(log_.Checkpoint({.trim_lsn = last, .state = written.Encode()}));
    trimmed_ = std::move(state);
    trimmed = true;
  }
}

}  // namespace weir::collector
