#include "common/model/series.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace weir {
namespace {

size_t VarintSize(uint64_t value) { return (std::bit_width(value | 1) + 6) / 7; }

// How many bytes AppendSeries writes. Varints have longer spellings; comparing
// lengths tells whether somebody used one.
size_t EncodedSize(const Series& series) {
  const auto prefixed = [](std::string_view text) { return VarintSize(text.size()) + text.size(); };
  size_t size = prefixed(series.tenant) + 1 + prefixed(series.name);
  size += VarintSize(series.labels.size());
  for (const Label& label : series.labels) size += prefixed(label.name) + prefixed(label.value);
  return size;
}

bool SortedAndUnique(const std::vector<Label>& labels) {
  return std::adjacent_find(labels.begin(), labels.end(), [](const Label& a, const Label& b) {
           return a.name >= b.name;
         }) == labels.end();
}

void AppendJsonString(std::string_view text, std::string* out) {
  constexpr char kHexDigits[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\b':
        out->append("\\b");
        break;
      case '\f':
        out->append("\\f");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out->append("\\u00");
          out->push_back(kHexDigits[c >> 4]);
          out->push_back(kHexDigits[c & 0xf]);
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

void AppendUtf8(uint32_t code_point, std::string* out) {
  const auto continuation = [&](int shift) {
    out->push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3f)));
  };
  if (code_point < 0x80) {
    out->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out->push_back(static_cast<char>(0xc0 | (code_point >> 6)));
    continuation(0);
  } else if (code_point < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | (code_point >> 12)));
    continuation(6);
    continuation(0);
  } else {
    out->push_back(static_cast<char>(0xf0 | (code_point >> 18)));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

// RFC 8259's grammar, cut down to an object whose values are strings.
class LabelParser {
 public:
  explicit LabelParser(std::string_view json) : json_(json) {}

  absl::StatusOr<std::vector<Label>> Parse() {
    std::vector<Label> labels;
    if (!Take('{')) return Error("expected '{'");
    if (!Take('}')) {
      do {
        Label label;
        WEIR_RETURN_IF_ERROR(ParseString(&label.name));
        if (!Take(':')) return Error("expected ':'");
        WEIR_RETURN_IF_ERROR(ParseString(&label.value));
        labels.push_back(std::move(label));
      } while (Take(','));
      if (!Take('}')) return Error("expected ',' or '}'");
    }
    SkipSpace();
    if (at_ != json_.size()) return Error("text after the object");
    if (!SortLabels(&labels)) return absl::InvalidArgumentError("labels: a name occurs twice");
    return labels;
  }

 private:
  absl::Status Error(const char* what) const {
    return absl::InvalidArgumentError(absl::StrCat("labels: ", what, " at byte ", at_));
  }

  void SkipSpace() {
    while (at_ < json_.size() &&
           (json_[at_] == ' ' || json_[at_] == '\t' || json_[at_] == '\n' || json_[at_] == '\r')) {
      ++at_;
    }
  }

  // Skips white space and consumes `c` if it comes next.
  bool Take(char c) {
    SkipSpace();
    if (at_ == json_.size() || json_[at_] != c) return false;
    ++at_;
    return true;
  }

  absl::Status ParseString(std::string* out) {
    if (!Take('"')) return Error("expected a string");
    while (at_ < json_.size()) {
      const char c = json_[at_];
      if (c == '"') {
        ++at_;
        return absl::OkStatus();
      }
      if (static_cast<unsigned char>(c) < 0x20) return Error("a control character in a string");
      ++at_;
      if (c == '\\') {
        WEIR_RETURN_IF_ERROR(ParseEscape(out));
      } else {
        out->push_back(c);
      }
    }
    return Error("a string without an end");
  }

  // What follows a backslash.
  absl::Status ParseEscape(std::string* out) {
    const char c = at_ < json_.size() ? json_[at_] : '\0';
    ++at_;
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out->push_back(c);
        return absl::OkStatus();
      case 'b':
        out->push_back('\b');
        return absl::OkStatus();
      case 'f':
        out->push_back('\f');
        return absl::OkStatus();
      case 'n':
        out->push_back('\n');
        return absl::OkStatus();
      case 'r':
        out->push_back('\r');
        return absl::OkStatus();
      case 't':
        out->push_back('\t');
        return absl::OkStatus();
      case 'u':
        break;
      default:
        --at_;
        return Error("an unknown escape");
    }
    uint32_t unit = 0;
    if (!TakeHex(&unit)) return Error("expected four hexadecimal digits");
    if (unit >= 0xdc00 && unit < 0xe000) return Error("a low surrogate without a high one");
    if (unit >= 0xd800 && unit < 0xdc00) {
      uint32_t low = 0;
      if (json_.substr(at_, 2) != "\\u") return Error("a high surrogate without a low one");
      at_ += 2;
      if (!TakeHex(&low) || low < 0xdc00 || low >= 0xe000) {
        return Error("a high surrogate without a low one");
      }
      unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(unit, out);
    return absl::OkStatus();
  }

  bool TakeHex(uint32_t* value) {
    if (json_.size() - at_ < 4) return false;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = json_[at_];
      uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = c - '0';
      } else if (c >= 'a' && c <= 'f') {
        digit = c - 'a' + 10;
      } else if (c >= 'A' && c <= 'F') {
        digit = c - 'A' + 10;
      } else {
        return false;
      }
      *value = *value << 4 | digit;
    }
    return true;
  }

  const std::string_view json_;
  size_t at_ = 0;  // at most json_.size()
};

}  // namespace

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kGauge:
      return "gauge";
    case Kind::kCounter:
      return "counter";
    case Kind::kUpDownCounter:
      return "up_down_counter";
    case Kind::kDistribution:
      return "distribution";
  }
  return "unknown";
}

bool SortLabels(std::vector<Label>* labels) {
  std::sort(labels->begin(), labels->end());
  return SortedAndUnique(*labels);
}

void AppendSeries(const Series& series, std::string* out) {
  AppendLengthPrefixed(series.tenant, out);
  AppendFixed(series.kind, out);
  AppendLengthPrefixed(series.name, out);
  AppendVarint(series.labels.size(), out);
  for (const Label& label : series.labels) {
    AppendLengthPrefixed(label.name, out);
    AppendLengthPrefixed(label.value, out);
  }
}

absl::StatusOr<Series> ParseSeries(std::string_view bytes) {
  ByteReader reader(bytes);
  Series series;
  series.tenant = reader.LengthPrefixed();
  const uint8_t kind = reader.Fixed<uint8_t>();
  series.kind = static_cast<Kind>(kind);
  series.name = reader.LengthPrefixed();
  const uint64_t label_count = reader.Varint();
  // Two lengths are the least a label takes: a false count reserves no more
  // than the bytes that are there could need.
  if (label_count > reader.rest().size() / 2) {
    return absl::DataLossError("series: more labels than bytes");
  }
  series.labels.reserve(label_count);
  for (uint64_t i = 0; i < label_count && reader.ok(); ++i) {
    const std::string_view name = reader.LengthPrefixed();
    const std::string_view value = reader.LengthPrefixed();
    series.labels.push_back({.name = std::string(name), .value = std::string(value)});
  }
  if (!reader.ok()) return absl::DataLossError("series: cut short");
  if (!reader.empty()) return absl::DataLossError("series: bytes after its end");
  if (kind == 0 || kind > kMaxKind) {
    return absl::DataLossError(absl::StrCat("series: unknown kind ", kind));
  }
  if (!SortedAndUnique(series.labels)) return absl::DataLossError("series: labels not in order");
  if (EncodedSize(series) != bytes.size()) {
    return absl::DataLossError("series: a length longer than it needs to be");
  }
  return series;
}

SeriesId IdOfSeries(const Series& series) {
  std::string bytes;
  AppendSeries(series, &bytes);
  return IdOfSeriesBytes(bytes);
}

SeriesId IdOfSeriesBytes(std::string_view series_bytes) {
  return SeriesId::FromBytes(Sha256(series_bytes).substr(0, 16));
}

std::string LabelsToJson(const std::vector<Label>& labels) {
  std::string json = "{";
  for (const Label& label : labels) {
    if (json.size() > 1) json.push_back(',');
    AppendJsonString(label.name, &json);
    json.push_back(':');
    AppendJsonString(label.value, &json);
  }
  json.push_back('}');
  return json;
}

absl::StatusOr<std::vector<Label>> LabelsFromJson(std::string_view json) {
  return LabelParser(json).Parse();
}

Series OverflowOf(const Series& series) {
  return {.tenant = series.tenant,
          .name = series.name,
          .kind = series.kind,
          .labels = {{.name = std::string(kOverflowLabel), .value = "true"}}};
}

}  // namespace weir
