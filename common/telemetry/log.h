// Structured logs: one line of key=value (logfmt) on standard error.
//
//   Log(Level::kInfo, "wal", "segment sealed", {{"segment", 42}, {"bytes", size}});
//
//   time=2026-08-01T12:00:00.123Z level=info component=wal msg="segment sealed" segment=42 bytes=1
//
// Values that are not plain words are quoted; control characters, and bytes
// that are not UTF-8, are always escaped, so a value cannot forge a line or
// drive a terminal. Never log a prompt, a completion or a secret.
//
// Thread safety: thread-safe. A line is written with one call.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace weir::telemetry {

enum class Level { kDebug, kInfo, kWarning, kError };

// "debug", "info", "warning", "error", and back.
std::string_view LevelName(Level level);
std::optional<Level> LevelFromName(std::string_view name);

// One key and its value. The key is a literal in snake_case; the value is
// borrowed until Log returns, an absl::Status only as its text.
class Field {
 public:
  Field(std::string_view key, std::string_view value) : key_(key), value_(value) {}
  Field(std::string_view key, const char* value) : key_(key), value_(std::string_view(value)) {}
  Field(std::string_view key, const std::string& value)
      : key_(key), value_(std::string_view(value)) {}
  Field(std::string_view key, double value) : key_(key), value_(value) {}
  Field(std::string_view key, absl::Duration value) : key_(key), value_(value) {}
  Field(std::string_view key, const absl::Status& value) : key_(key), value_(value.ToString()) {}
  template <typename T>
  requires std::integral<T> Field(std::string_view key, T value) : key_(key) {
    if constexpr (std::same_as<T, bool>) {
      value_ = value;
    } else if constexpr (std::unsigned_integral<T>) {
      value_ = static_cast<uint64_t>(value);
    } else {
      value_ = static_cast<int64_t>(value);
    }
  }

  std::string_view key() const { return key_; }
  void AppendValue(std::string* line) const;

 private:
  std::string_view key_;
  std::variant<std::string_view, std::string, int64_t, uint64_t, double, bool, absl::Duration>
      value_;
};

using Fields = std::initializer_list<Field>;

// Writes one line when `level` is at least the level set. A `suppressed_count`
// that is not 0 (see LogLimiter) becomes the last field.
void Log(Level level, std::string_view component, std::string_view message, Fields fields = {},
         int64_t suppressed_count = 0);

// The lowest level written. kInfo until set.
void SetLogLevel(Level level);
bool LogEnabled(Level level);

// Takes lines (without the newline) in place of standard error; null restores
// it. For tests, and for programs that draw on the terminal. The sink must not
// log.
void SetLogSink(std::function<void(Level, std::string_view line)> sink);

// The line Log writes, without a newline.
std::string FormatLine(absl::Time time, Level level, std::string_view component,
                       std::string_view message, Fields fields, int64_t suppressed_count = 0);

// Lets one line through per interval and counts the rest, for what may repeat
// thousands of times a second. One per call site or per subject.
//
//   if (const auto suppressed = limiter.Admit(clock.Now())) {
//     Log(Level::kWarning, "wal", "quota reached", {{"bytes", bytes}}, *suppressed);
//   }
//
// Thread safety: thread-safe, lock-free.
class LogLimiter {
 public:
  explicit LogLimiter(absl::Duration interval) : interval_(interval) {}

  // Returns how many calls were refused since the last one admitted, or nullopt
  // when this one is refused.
  std::optional<int64_t> Admit(absl::Time now);

 private:
  const absl::Duration interval_;
  std::atomic<int64_t> next_unix_nanos_{INT64_MIN};
  std::atomic<int64_t> suppressed_count_{0};
};

}  // namespace weir::telemetry
