#include "common/telemetry/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <utility>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace weir::telemetry {
namespace {

constexpr std::string_view kLevelNames[] = {"debug", "info", "warning", "error"};

std::atomic<Level> lowest_level{Level::kInfo};

struct Sink {
  Mutex mu;
  // Shared, because a line may be on its way while the sink is replaced.
  std::shared_ptr<const std::function<void(Level, std::string_view)>> function ABSL_GUARDED_BY(mu);
};

// The standard error of a process is one, and so is this. Never destroyed:
// threads may log until the very end.
Sink& TheSink() {
  static Sink& sink = *new Sink;
  return sink;
}

spdlog::logger& TheLogger() {
  static spdlog::logger& logger = *[] {
    auto* made = new spdlog::logger("weir", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);  // we filter
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

spdlog::level::level_enum SpdlogLevel(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      break;
  }
  return spdlog::level::err;
}

// The length of the UTF-8 character at the start of `text`, 0 when there is
// none. Surrogates and overlong forms are none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!tail(1) || !tail(2)) return 0;
    if (lead == 0xe0 && byte(1) < 0xa0) return 0;
    if (lead == 0xed && byte(1) > 0x9f) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (lead == 0xf0 && byte(1) < 0x90) return 0;
    if (lead == 0xf4 && byte(1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

bool Plain(std::string_view value) {
  if (value.empty()) return false;
  for (const char c : value) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

void AppendHex(unsigned char byte, std::string* line) {
  constexpr char kDigits[] = "0123456789abcdef";
  line->append("\\x");
  line->push_back(kDigits[byte >> 4]);
  line->push_back(kDigits[byte & 15]);
}

void AppendText(std::string_view value, std::string* line) {
  if (Plain(value)) {
    line->append(value);
    return;
  }
  line->push_back('"');
  while (!value.empty()) {
    const auto lead = static_cast<unsigned char>(value[0]);
    size_t length = Utf8Length(value);
    // C1 controls (U+0080 to U+009F) drive terminals as well as C0 does, and
    // U+2028 and U+2029 end lines for some readers.
    const bool c1 = length == 2 && lead == 0xc2 && static_cast<unsigned char>(value[1]) < 0xa0;
    const bool separator = length == 3 && (value.substr(0, 3) == "\xe2\x80\xa8" ||
                                           value.substr(0, 3) == "\xe2\x80\xa9");
    if (value[0] == '"' || value[0] == '\\') {
      line->push_back('\\');
      line->push_back(value[0]);
    } else if (value[0] == '\n') {
      line->append("\\n");
    } else if (value[0] == '\t') {
      line->append("\\t");
    } else if (length == 0 || lead < 0x20 || lead == 0x7f || c1 || separator) {
      if (length == 0) length = 1;
      for (size_t i = 0; i < length; ++i) AppendHex(static_cast<unsigned char>(value[i]), line);
    } else {
      line->append(value.substr(0, length));
    }
    value.remove_prefix(length);
  }
  line->push_back('"');
}

template <typename Number>
void AppendNumber(Number value, std::string* line) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  line->append(buffer, end);
}

}  // namespace

std::string_view LevelName(Level level) { return kLevelNames[static_cast<int>(level)]; }

std::optional<Level> LevelFromName(std::string_view name) {
  for (const Level level : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (LevelName(level) == name) return level;
  }
  return std::nullopt;
}

void Field::AppendValue(std::string* line) const {
  std::visit(
      [line](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          line->append(value ? "true" : "false");
        } else if constexpr (std::is_arithmetic_v<T>) {
          AppendNumber(value, line);
        } else if constexpr (std::is_same_v<T, absl::Duration>) {
          line->append(absl::FormatDuration(value));
        } else {
          AppendText(value, line);
        }
      },
      value_);
}

std::string FormatLine(absl::Time time, Level level, std::string_view component,
                       std::string_view message, Fields fields, int64_t suppressed_count) {
  std::string line;
  line.reserve(160);
  line.append("time=");
  line.append(absl::FormatTime("%Y-%m-%d%ET%H:%M:%E3SZ", time, absl::UTCTimeZone()));
  line.append(" level=").append(LevelName(level));
  line.append(" component=");
  AppendText(component, &line);
  line.append(" msg=");
  AppendText(message, &line);
  for (const Field& field : fields) {
    line.push_back(' ');
    line.append(field.key());
    line.push_back('=');
    field.AppendValue(&line);
  }
  if (suppressed_count > 0) {
    line.append(" suppressed=");
    AppendNumber(suppressed_count, &line);
  }
  return line;
}

void Log(Level level, std::string_view component, std::string_view message, Fields fields,
         int64_t suppressed_count) {
  if (!LogEnabled(level)) return;
  const std::string line =
      FormatLine(Clock::System().Now(), level, component, message, fields, suppressed_count);
  std::shared_ptr<const std::function<void(Level, std::string_view)>> function;
  {
    MutexLock lock(&TheSink().mu);
    function = TheSink().function;
  }
  if (function != nullptr) {
    (*function)(level, line);
    return;
  }
  TheLogger().log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

void SetLogLevel(Level level) { lowest_level.store(level, std::memory_order_relaxed); }

bool LogEnabled(Level level) { return level >= lowest_level.load(std::memory_order_relaxed); }

void SetLogSink(std::function<void(Level, std::string_view line)> sink) {
  auto shared =
      sink == nullptr
          ? nullptr
          : std::make_shared<const std::function<void(Level, std::string_view)>>(std::move(sink));
  MutexLock lock(&TheSink().mu);
  TheSink().function.swap(shared);
}

std::optional<int64_t> LogLimiter::Admit(absl::Time now) {
  const int64_t now_nanos = absl::ToUnixNanos(now);
  int64_t next = next_unix_nanos_.load(std::memory_order_relaxed);
  // One of several callers that find the interval over wins; the others count.
  if (now_nanos < next ||
      !next_unix_nanos_.compare_exchange_strong(next, absl::ToUnixNanos(now + interval_),
                                                std::memory_order_relaxed)) {
    suppressed_count_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  return suppressed_count_.exchange(0, std::memory_order_relaxed);
}

}  // namespace weir::telemetry
