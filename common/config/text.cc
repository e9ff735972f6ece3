#include "common/config/text.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "common/base/strings.h"

namespace weir::config {
namespace {

struct ByteUnit {
  std::string_view suffix;
  int64_t bytes;
};
// Powers of 1024 from the largest down, which FormatBytes relies on.
constexpr ByteUnit kByteUnits[] = {
    {"TiB", int64_t{1} << 40},
    {"GiB", int64_t{1} << 30},
    {"MiB", int64_t{1} << 20},
    {"KiB", int64_t{1} << 10},
    {"TB", 1'000'000'000'000},
    {"GB", 1'000'000'000},
    {"MB", 1'000'000},
    {"kB", 1'000},
    {"B", 1},
};

// Shortest text that reads back as the same number.
std::string NumberText(double value) {
  char buffer[40];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

// A limit the way the field itself is written.
std::string LimitText(double limit, const Target& target, const FieldOptions& options) {
  if (std::holds_alternative<absl::Duration*>(target)) {
    return absl::FormatDuration(absl::Seconds(limit));
  }
  if (options.unit == Unit::kBytes) return FormatBytes(static_cast<int64_t>(limit));
  if (std::abs(limit) < 1e15 && limit == std::floor(limit)) {
    return StrCat(static_cast<int64_t>(limit));
  }
  return NumberText(limit);
}

std::string RangeText(const Target& target, const FieldOptions& options) {
  const bool low = options.min.has_value();
  const bool high = options.max.has_value();
  if (low && high) {
    return StrCat(" from ", LimitText(*options.min, target, options), " to ",
                  LimitText(*options.max, target, options));
  }
  if (low) return StrCat(" of at least ", LimitText(*options.min, target, options));
  if (high) return StrCat(" of at most ", LimitText(*options.max, target, options));
  return "";
}

bool InRange(double value, const FieldOptions& options) {
  return !(options.min.has_value() && value < *options.min) &&
         !(options.max.has_value() && value > *options.max);
}

bool Chosen(const std::string& value, const FieldOptions& options) {
  if (options.choices.empty()) return true;
  for (const std::string& choice : options.choices) {
    if (choice == value) return true;
  }
  return false;
}

absl::Status Refused(const Target& target, const FieldOptions& options) {
  return absl::InvalidArgumentError(StrCat("is not ", Allowed(target, options)));
}

// Sets the field when the value has been parsed and lies in range.
template <typename T>
absl::Status SetChecked(bool parsed, T value, double measure, const FieldOptions& options,
                        const Target& target) {
  if (!parsed || !InRange(measure, options)) return Refused(target, options);
  *std::get<T*>(target) = std::move(value);
  return absl::OkStatus();
}

// Plain where YAML reads the same string back for sure, double-quoted else.
std::string YamlString(const std::string& text) {
  bool plain = !text.empty() && (absl::ascii_isalpha(text[0]) || text[0] == '/');
  for (const char c : text) {
    plain = plain && (absl::ascii_isalnum(c) || c == '/' || c == '.' || c == '_' || c == '-');
  }
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* word : {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}) {
    plain = plain && lower != word;
  }
  if (plain) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      out.append("\\x");
      out.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
      out.push_back(kDigits[c & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  const auto refused = [&] {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\" is not a size in bytes, such as 1048576, 64MiB or 1.5GB"));
  };
  std::string_view number = text;
  int64_t unit = 1;
  for (const ByteUnit& each : kByteUnits) {
    if (text.ends_with(each.suffix)) {
      number.remove_suffix(each.suffix.size());
      while (number.ends_with(' ')) number.remove_suffix(1);
      unit = each.bytes;
      break;
    }
  }
  int64_t whole;
  if (absl::SimpleAtoi(AbslView(number), &whole)) {
    int64_t bytes;
    if (__builtin_mul_overflow(whole, unit, &bytes)) return refused();
    return bytes;
  }
  double fraction;
  const char* const end = number.data() + number.size();
  const auto result = std::from_chars(number.data(), end, fraction, std::chars_format::fixed);
  if (unit == 1 || number.empty() || result.ec != std::errc() || result.ptr != end) {
    return refused();
  }
  const double bytes = fraction * static_cast<double>(unit);
  if (!(std::abs(bytes) < 9e18) || bytes != std::floor(bytes)) return refused();
  return static_cast<int64_t>(bytes);
}

std::string FormatBytes(int64_t bytes) {
  for (const ByteUnit& unit : kByteUnits) {
    if (!unit.suffix.ends_with("iB")) break;
    if (bytes != 0 && bytes % unit.bytes == 0) return StrCat(bytes / unit.bytes, unit.suffix);
  }
  return StrCat(bytes);
}

absl::Status ParseInto(const std::string& text, const FieldOptions& options, const Target& target) {
  if (std::holds_alternative<bool*>(target)) {
    const bool yes = text == "true";
    return SetChecked(yes || text == "false", yes, yes ? 1 : 0, options, target);
  }
  if (std::holds_alternative<int*>(target)) {
    int value = 0;
    const bool parsed = absl::SimpleAtoi(text, &value);
    return SetChecked(parsed, value, value, options, target);
  }
  if (std::holds_alternative<int64_t*>(target)) {
    int64_t value = 0;
    bool parsed = absl::SimpleAtoi(text, &value);
    if (options.unit == Unit::kBytes) {
      const absl::StatusOr<int64_t> bytes = ParseBytes(text);
      parsed = bytes.ok();
      value = bytes.value_or(0);
    }
    return SetChecked(parsed, value, static_cast<double>(value), options, target);
  }
  if (std::holds_alternative<double*>(target)) {
    double value = 0;
    const bool parsed = absl::SimpleAtod(text, &value) && std::isfinite(value);
    return SetChecked(parsed, value, value, options, target);
  }
  if (std::holds_alternative<absl::Duration*>(target)) {
    absl::Duration value;
    const bool parsed = absl::ParseDuration(text, &value);
    return SetChecked(parsed, value, absl::ToDoubleSeconds(value), options, target);
  }
  return SetChecked(Chosen(text, options), text, 0, {}, target).ok() ? absl::OkStatus()
                                                                     : Refused(target, options);
}

absl::Status CheckList(const std::vector<std::string>& values, const FieldOptions& options) {
  std::vector<std::string>* const none = nullptr;
  if (!InRange(static_cast<double>(values.size()), options)) {
    return absl::InvalidArgumentError(
        StrCat("has ", values.size(), " elements; takes ", Allowed(none, options)));
  }
  for (const std::string& value : values) {
    if (!Chosen(value, options)) {
      return absl::InvalidArgumentError(StrCat("\"", value, "\" is not ", Allowed(none, options)));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> values;
  if (text.find_first_not_of(' ') == std::string_view::npos) return values;
  while (true) {
    const size_t comma = text.find(',');
    values.emplace_back(StdView(absl::StripAsciiWhitespace(AbslView(text.substr(0, comma)))));
    if (comma == std::string_view::npos) return values;
    text.remove_prefix(comma + 1);
  }
}

std::string Allowed(const Target& target, const FieldOptions& options) {
  const std::string range = RangeText(target, options);
  if (std::holds_alternative<bool*>(target)) return "true or false";
  if (std::holds_alternative<double*>(target)) return "a number" + range;
  if (std::holds_alternative<absl::Duration*>(target)) {
    return StrCat("a duration", range, ", such as 10s, 250ms or 1h30m");
  }
  if (std::holds_alternative<int*>(target) || std::holds_alternative<int64_t*>(target)) {
    if (options.unit == Unit::kBytes) return StrCat("a size", range, ", such as 64MiB");
    return "a whole number" + range;
  }
  std::string what = "text";
  if (!options.choices.empty()) what = "one of " + absl::StrJoin(options.choices, ", ");
  if (!std::holds_alternative<std::vector<std::string>*>(target)) return what;
  return StrCat("a list", range.empty() ? "" : StrCat(range, " elements"), ", each ", what);
}

std::string Placeholder(const Target& target, const FieldOptions& options) {
  if (std::holds_alternative<bool*>(target)) return "BOOL";
  if (std::holds_alternative<absl::Duration*>(target)) return "DURATION";
  if (std::holds_alternative<std::string*>(target)) {
    return options.choices.empty() ? "TEXT" : absl::StrJoin(options.choices, "|");
  }
  if (std::holds_alternative<std::vector<std::string>*>(target)) return "LIST";
  return options.unit == Unit::kBytes ? "BYTES" : "NUMBER";
}

std::string TextOf(const Target& target, const FieldOptions& options) {
  return std::visit(
      [&](const auto* field) -> std::string {
        using T = std::decay_t<decltype(*field)>;
        if constexpr (std::is_same_v<T, bool>) {
          return *field ? "true" : "false";
        } else if constexpr (std::is_same_v<T, double>) {
          return NumberText(*field);
        } else if constexpr (std::is_same_v<T, std::string>) {
          return *field;
        } else if constexpr (std::is_same_v<T, absl::Duration>) {
          return absl::FormatDuration(*field);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return absl::StrJoin(*field, ",");
        } else {
          return options.unit == Unit::kBytes ? FormatBytes(*field) : StrCat(*field);
        }
      },
      target);
}

std::string YamlOf(const Target& target, const FieldOptions& options) {
  if (auto* const* text = std::get_if<std::string*>(&target)) return YamlString(**text);
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&target)) {
    std::vector<std::string> quoted;
    for (const std::string& value : **list) quoted.push_back(YamlString(value));
    return StrCat("[", absl::StrJoin(quoted, ", "), "]");
  }
  return TextOf(target, options);
}

}  // namespace weir::config
