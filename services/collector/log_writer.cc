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
      trimmed_(series.slot_count()) {}

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Open(wal::Wal& log, SeriesTable& series,
                                                           SessionLifetimes lifetimes,
                                                           Mutant mutant) {
  auto writer = std::unique_ptr<LogWriter>(new LogWriter(log, series, lifetimes, mutant));
  WEIR_RETURN_IF_ERROR(writer->Recover());
  WEIR_ASSIGN_OR_RETURN(const wal::Position position, log.Prepare());
  series.set_current_segment(position.segment);
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

absl::StatusOr<std::vector<SeriesNumber>> LogWriter::MissingDefinitions(const Group& group,
                                                                        uint64_t segment) const {
  std::vector<SeriesNumber> missing;
  const auto consider = [&](SeriesNumber number) {
    if (series_.defined_segment(number) != segment) missing.push_back(number);
  };
  frame::Block block;
  for (const AdmittedBatch& batch : group.batches) {
    if (batch.segment == segment) {
      std::for_each(batch.undefined.begin(), batch.undefined.end(), consider);
      continue;
    }
    // A new segment was started since the batch was admitted: what it needs
    // defined is read off its blocks.
    ByteReader reader(batch.blocks);
    while (!reader.empty()) {
      WEIR_RETURN_IF_ERROR(frame::ReadBlock(&reader, &block));
      std::for_each(block.refs.begin(), block.refs.end(), consider);
    }
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  return missing;
}

absl::StatusOr<Written> LogWriter::Write(const Group& group, absl::Time now) {
  if (group.batches.empty() && group.sessions.empty()) {
    return Written{.lsn = last_lsn_, .seal_time = now};
  }
  // Seal times rise even when the clock does not: completeness hangs on it.
  const absl::Time seal_time = std::max(now, last_seal_time_ + absl::Nanoseconds(1));
  // All frames of a group go into one segment, however large it gets: a new one
  // would need every definition again, and the samples might never get their turn.
  WEIR_ASSIGN_OR_RETURN(const wal::Position position, log_.Prepare());
  series_.set_current_segment(position.segment);
  WEIR_ASSIGN_OR_RETURN(const std::vector<SeriesNumber> missing,
                        MissingDefinitions(group, position.segment));
  std::map<int, frame::SubframeParts> parts;
  size_t definition_bytes = 0;
  for (const SeriesNumber number : missing) {
    const auto definition = series_.Definition(number);
    if (definition_bytes + definition.bytes.size() > kMaxDefinitionBytes) {
      WEIR_RETURN_IF_ERROR(AppendParts(std::exchange(parts, {}), {}, seal_time));
      definition_bytes = 0;
    }
    definition_bytes += definition.bytes.size();
    parts[definition.slot].definitions.push_back({.number = number, .series = definition.bytes});
  }
  for (const AdmittedBatch& batch : group.batches) {
    for (const SlotPart& from : batch.parts) {
      frame::SubframeParts& part = parts[from.slot];
      part.sample_count += from.sample_count;
      part.blocks.push_back(batch.BlocksOf(from));
    }
  }
  WEIR_RETURN_IF_ERROR(AppendParts(std::move(parts), group.sessions, seal_time));
  return Written{.lsn = last_lsn_, .seal_time = seal_time};
}

absl::Status LogWriter::AppendParts(std::map<int, frame::SubframeParts> parts,
                                    const std::vector<frame::SessionMark>& sessions,
                                    absl::Time seal_time) {
  std::vector<frame::SubframeParts> ascending;
  ascending.reserve(parts.size());
  for (auto& [slot, part] : parts) {
    part.slot = slot;
    part.previous_lsn = slot_last_[static_cast<size_t>(slot)];
    ascending.push_back(std::move(part));
  }
  frame_.clear();
  frame::AppendFrame(seal_time, sessions, ascending, &frame_);
  WEIR_RETURN_IF_ERROR(log_.Append({frame_}));
  ++last_lsn_;
  last_seal_time_ = seal_time;
  const uint64_t segment = series_.current_segment();
  for (const frame::SubframeParts& part : ascending) {
    slot_last_[static_cast<size_t>(part.slot)] = last_lsn_;
    for (const frame::Definition& definition : part.definitions) {
      series_.set_defined_segment(definition.number, segment);
    }
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
