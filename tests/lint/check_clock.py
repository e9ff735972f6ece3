#!/usr/bin/env python3
"""Time is an argument: the system's clock is read, and threads sleep, in common/base/clock.cc only."""

import pathlib
import re

import sources

# Whatever asks the machine what time it is, or lets time pass.
_CLOCKS = re.compile(
    r"\babsl::Now\s*\(|\babsl::GetCurrentTimeNanos\s*\(|\babsl::SleepFor\s*\("
    r"|\b(system_clock|high_resolution_clock|utc_clock)::now\s*\("
    r"|(?<![\w.>:])(?:::)?(?:sleep|usleep|nanosleep|clock_nanosleep|gettimeofday"
    r"|timespec_get)\s*\("
    r"|(?<![\w.>:])(?:std::|::)?time\s*\(\s*(?:nullptr|NULL|0|&)")
# Stopwatches, which benchmarks may use: they measure and decide nothing.
_STOPWATCHES = re.compile(r"\bsteady_clock::now\s*\(|(?<![\w.>:])(?:::)?clock_gettime\s*\(")
_SLEEP_FOR = re.compile(r"\bthis_thread::sleep_(for|until)\b")

ALLOWED = "common/base/clock.cc"
_MEASURES = re.compile(r"^bench/|_bench\.cc$")


def check(root):
    """Returns every use of a clock outside the one file that has it."""
    root = pathlib.Path(root)
    found = []
    for path in sources.files(root, ".cc", ".h"):
        name = path.relative_to(root).as_posix()
        text = sources.without_comments(path.read_text(), strings=True)
        patterns = [_SLEEP_FOR]
        if name != ALLOWED:
            patterns.append(_CLOCKS)
            if not _MEASURES.search(name):
                patterns.append(_STOPWATCHES)
        for pattern in patterns:
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name}:{line}: {match.group().strip()}: take a Clock&")
    return sorted(found)


if __name__ == "__main__":
    sources.main(check, __doc__.splitlines()[0])
