#include "services/collector/admission.h"

#include "absl/strings/str_format.h"
#include "common/base/strings.h"

namespace weir::collector {
namespace {

// What an error message shows of a client's text: short, and printable.
std::string Shown(std::string_view text) {
  constexpr size_t kMost = 48;
  std::string shown;
  for (const char c : text.substr(0, kMost)) {
    if (c >= 0x20 && c < 0x7f) {
      shown.push_back(c);
    } else {
      absl::StrAppendFormat(&shown, "\\x%02x", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kMost) shown += "...";
  return shown;
}

std::string ShownTime(int64_t unix_nano) {
  return absl::FormatTime(absl::RFC3339_full, absl::FromUnixNanos(unix_nano), absl::UTCTimeZone());
}

// The length of the character that starts `text`, or 0 when it is none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
    if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogate
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;  // overlong
    if (first == 0xf4 && byte(1) > 0x8f) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

}  // namespace

void Rejections::Add(Reject reason, std::string_view message, int64_t count) {
  count_ += count;
  for (Rejected& rejected : list_) {
    if (rejected.reason == reason) {
      rejected.count += count;
      return;
    }
  }
  list_.push_back({.reason = reason, .count = count, .message = std::string(message)});
}

bool AcceptableText(std::string_view text) {
  while (!text.empty()) {
    const size_t length = CharacterBytes(text);
    if (length == 0 || text[0] == '\0') return false;
    text.remove_prefix(length);
  }
  return true;
}

std::optional<SeriesError> AdmitSeries(const Limits& limits, Series* series) {
  const int kind = static_cast<int>(series->kind);
  if (kind < 1 || kind > kMaxKind) {
    return SeriesError{Reject::kKindInvalid,
                       StrCat("metric '", Shown(series->name), "' has kind ", kind,
                              "; allowed are KIND_GAUGE, KIND_COUNTER, "
                              "KIND_UP_DOWN_COUNTER and KIND_DISTRIBUTION")};
  }
  if (series->name.empty() || !AcceptableText(series->name) ||
      static_cast<int64_t>(series->name.size()) > limits.max_name_bytes) {
    return SeriesError{
        Reject::kNameInvalid,
        StrCat("metric name '", Shown(series->name), "' of ", series->name.size(),
               " bytes; allowed are 1 to ", limits.max_name_bytes, " bytes of UTF-8 without NUL")};
  }
  std::erase_if(series->labels, [](const Label& label) { return label.value.empty(); });
  if (static_cast<int64_t>(series->labels.size()) > limits.max_labels) {
    return SeriesError{Reject::kTooManyLabels,
                       StrCat("metric '", Shown(series->name), "' has ", series->labels.size(),
                              " labels; at most ", limits.max_labels, " are allowed")};
  }
  int64_t bytes = 0;
  for (const Label& label : series->labels) {
    bytes += static_cast<int64_t>(label.name.size() + label.value.size());
    if (label.name.empty() || !AcceptableText(label.name) ||
        static_cast<int64_t>(label.name.size()) > limits.max_label_name_bytes) {
      return SeriesError{Reject::kLabelInvalid,
                         StrCat("label name '", Shown(label.name), "' of ", label.name.size(),
                                " bytes; allowed are 1 to ", limits.max_label_name_bytes,
                                " bytes of UTF-8 without NUL")};
    }
    if (!AcceptableText(label.value) ||
        static_cast<int64_t>(label.value.size()) > limits.max_label_value_bytes) {
      return SeriesError{Reject::kLabelInvalid,
                         StrCat("value of label '", Shown(label.name), "' is '", Shown(label.value),
                                "' of ", label.value.size(), " bytes; allowed are up to ",
                                limits.max_label_value_bytes, " bytes of UTF-8 without NUL")};
    }
  }
  if (bytes > limits.max_series_bytes) {
    return SeriesError{Reject::kTooManyLabels,
                       StrCat("the labels of metric '", Shown(series->name), "' take ", bytes,
                              " bytes; at most ", limits.max_series_bytes, " are allowed")};
  }
  if (!SortLabels(&series->labels)) {
    return SeriesError{Reject::kLabelInvalid,
                       StrCat("metric '", Shown(series->name), "' has a label twice")};
  }
  return std::nullopt;
}

TimeBounds TimeBoundsAt(const Limits& limits, absl::Time now) {
  return {.oldest = absl::ToUnixNanos(now - limits.max_age),
          .newest = absl::ToUnixNanos(now + limits.max_future)};
}

BatchBuilder::BatchBuilder(SeriesTable& series)
    : series_(series), slots_(static_cast<size_t>(series.slot_count())) {}

void BatchBuilder::Columns::MoveTo(frame::ValueType type, std::string* out) {
  frame::AppendBlock({type, absl::MakeSpan(refs.data(), count), absl::MakeSpan(times.data(), count),
                      absl::MakeSpan(bits.data(), count)},
                     out);
  count = 0;
}

void BatchBuilder::Start(const Limits& limits, absl::Time now) {
  rejections_ = {};
  bounds_ = TimeBoundsAt(limits, now);
  segment_ = series_.current_segment();
}

bool BatchBuilder::RejectTime(int64_t event_unix_nano) {
  if (event_unix_nano < bounds_.oldest) {
    rejections_.Add(Reject::kTimeTooOld,
                    StrCat("event time ", ShownTime(event_unix_nano), "; allowed is ",
                           ShownTime(bounds_.oldest), " and later"));
  } else {
    rejections_.Add(Reject::kTimeInFuture,
                    StrCat("event time ", ShownTime(event_unix_nano), "; allowed is up to ",
                           ShownTime(bounds_.newest)));
  }
  return false;
}

bool BatchBuilder::RejectNotFinite(double value) {
  rejections_.Add(Reject::kValueNotFinite,
                  StrCat("value ", value, "; only finite values are allowed"));
  return false;
}

template <typename Value>
bool BatchBuilder::RejectNegative(Value value) {
  rejections_.Add(Reject::kValueNegative,
                  StrCat("a counter increased by ", value,
                         "; allowed are 0 and more, or KIND_UP_DOWN_COUNTER"));
  return false;
}
template bool BatchBuilder::RejectNegative(double value);
template bool BatchBuilder::RejectNegative(int64_t value);

AdmittedBatch BatchBuilder::Build() {
  AdmittedBatch batch;
  batch.sample_count = sample_count_;
  batch.segment = segment_;
  batch.undefined = std::move(undefined_);
  undefined_.clear();
  // 14 bytes a sample and a few for each block is the usual size.
  batch.blocks.reserve(static_cast<size_t>(sample_count_) * 16 + slots_.size() * 24);
  for (size_t i = 0; i < slots_.size(); ++i) {
    SlotColumns& slot = slots_[i];
    const uint64_t count = slot.encoded_count + slot.floats.count + slot.integers.count;
    if (count == 0) continue;
    const size_t offset = batch.blocks.size();
    batch.blocks.append(slot.encoded);
    if (slot.floats.count > 0) slot.floats.MoveTo(frame::ValueType::kFloat, &batch.blocks);
    if (slot.integers.count > 0) slot.integers.MoveTo(frame::ValueType::kInteger, &batch.blocks);
    batch.parts.push_back({.slot = static_cast<int>(i),
                           .sample_count = count,
                           .offset = offset,
                           .length = batch.blocks.size() - offset});
    slot.encoded.clear();
    slot.encoded_count = 0;
  }
  sample_count_ = 0;
  return batch;
}

}  // namespace weir::collector
