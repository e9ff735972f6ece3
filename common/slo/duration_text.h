// Durations as people write windows: "5m", "1h", "3d", "1h26m24s".
#pragma once

#include <string>

#include "absl/time/time.h"
#include "common/base/strings.h"

namespace weir {

// Days, hours, minutes and seconds, those that are not 0; "0s" for none. What is
// below a second is written as Abseil does ("1.5ms"), so that an error can say it.
inline std::string DurationText(absl::Duration duration) {
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration() ||
      duration != absl::Trunc(duration, absl::Seconds(1)) || duration == absl::ZeroDuration()) {
    return duration == absl::ZeroDuration() ? "0s" : absl::FormatDuration(duration);
  }
  int64_t seconds = absl::ToInt64Seconds(duration);
  std::string text;
  const auto append = [&](int64_t unit_seconds, const char* name) {
    if (seconds >= unit_seconds) StrAppend(&text, seconds / unit_seconds, name);
    seconds %= unit_seconds;
  };
  append(86'400, "d");
  append(3'600, "h");
  append(60, "m");
  append(1, "s");
  return text;
}

}  // namespace weir
