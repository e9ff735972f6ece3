#!/usr/bin/env python3
"""Every .cc and .h is as clang-format leaves it, with the one version in requirements.txt."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess

import sources

# Releases disagree about the same code, so the check is made with one.
VERSION = "14.0.6"
_PLACE = re.compile(r"^(.*?):(\d+):\d+: error: code should be clang-formatted", re.MULTILINE)


def check(root, clang_format):
    """Returns the files that clang-format would change, with the first line of each."""
    root = pathlib.Path(root)
    try:
        reported = subprocess.run([clang_format, "--version"], capture_output=True, text=True,
                                  check=True).stdout
    except OSError as error:
        return [f"{clang_format}: {error.strerror}; scripts/test installs it into build/venv"]
    if VERSION not in reported:
        return [f"{clang_format}: is {reported.strip()}, not {VERSION}; "
                "scripts/test installs it into build/venv"]
    paths = [str(path) for path in sources.files(root, ".cc", ".h")]
    workers = os.cpu_count() or 1
    # A few files a call: starting the program costs more than one small file.
    groups = [paths[start:start + 16] for start in range(0, len(paths), 16)]

    def run(group):
        return subprocess.run([clang_format, "--dry-run", "-Werror", "--style=file", *group],
                              capture_output=True, text=True, check=False)

    found = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for done in pool.map(run, groups):
            places = {}
            for path, line in _PLACE.findall(done.stderr):
                places.setdefault(path, set()).add(line)
            for path, lines in places.items():
                name = pathlib.Path(path).relative_to(root).as_posix()
                found.append(f"{name}:{min(lines, key=int)}: not formatted, {len(lines)} lines; "
                             f"run {clang_format} -i {name}")
            if done.returncode != 0 and not places:
                found.append(done.stderr.strip() or f"clang-format exited with {done.returncode}")
    return found


def _program():
    installed = pathlib.Path(__file__).resolve().parents[2] / "build/venv/bin/clang-format"
    return str(installed) if installed.exists() else "clang-format"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--clang_format", default=_program())
    options = parser.parse_args()
    sources.finish(check(options.root, options.clang_format))
