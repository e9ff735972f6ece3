#!/usr/bin/env python3
"""The API keeps its promises: buf's rules, compatibility, and a golden dump of every descriptor.

  check_protos.py                   rules of proto/buf.yaml, then the dump
  check_protos.py --update          write the dump of a compatible change
  check_protos.py --update --break  write it although clients will break

The dump makes every change of the wire a line in a review. It is compared
first for what breaks clients (buf's WIRE_JSON), then for being up to date.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import sources

GOLDEN = "tests/golden/api_v1.txt"


class Buf:
    """Runs buf on the proto folder of one root."""

    def __init__(self, root, program):
        self._folder = pathlib.Path(root).resolve() / "proto"
        self._program = program

    def run(self, *arguments):
        # buf wants a place for a cache; nothing here comes from its registry.
        with tempfile.TemporaryDirectory() as cache:
            return subprocess.run([self._program, *arguments], cwd=self._folder,
                                  env={**os.environ, "BUF_CACHE_DIR": cache},
                                  capture_output=True, text=True, check=False)

    def findings(self, *arguments):
        """What a rule of buf complains about, as paths from the root."""
        done = self.run(*arguments)
        lines = [re.sub(r"^((?:weir|google|opentelemetry|prometheus)/)", r"proto/\1", line)
                 for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return lines or ([f"buf exited with {done.returncode}"] if done.returncode else [])

    def dump(self, path):
        return self.findings("build", ".", "--path", "weir", "--exclude-source-info",
                             "-o", f"{path}#format=txtpb")


def _normal(text):
    """A dump without the spacing, which the library varies on purpose."""
    return re.sub(r"\s+", " ", text)


def check_rules(root, program):
    """Returns what breaks buf's STANDARD and COMMENTS rules."""
    return Buf(root, program).findings("lint")


def check_breaking(root, program):
    """Returns what would break a client of the golden API."""
    golden = pathlib.Path(root).resolve() / GOLDEN
    if not golden.exists():
        return [f"{GOLDEN}: missing; make it with tests/lint/check_protos.py --update"]
    return Buf(root, program).findings("breaking", ".", "--against", f"{golden}#format=txtpb")


def check_golden(root, program):
    """Returns whether the golden dump is behind the sources."""
    golden = pathlib.Path(root).resolve() / GOLDEN
    if not golden.exists():
        return [f"{GOLDEN}: missing; make it with tests/lint/check_protos.py --update"]
    with tempfile.TemporaryDirectory() as folder:
        now = pathlib.Path(folder) / "api.txt"
        found = Buf(root, program).dump(now)
        if not found and _normal(now.read_text()) != _normal(golden.read_text()):
            found = [f"{GOLDEN}: the API has changed; review the difference that "
                     "tests/lint/check_protos.py --update makes, and commit it"]
    return found


def check(root, program):
    """Returns everything above, the most useful first."""
    if shutil.which(program) is None:
        return [f"{program}: no such program; scripts/test installs it into build/venv"]
    return (check_rules(root, program) or check_breaking(root, program)
            or check_golden(root, program))


def update(root, program, may_break):
    """Writes the golden dump, unless it would break clients."""
    golden = pathlib.Path(root).resolve() / GOLDEN
    if golden.exists() and not may_break:
        found = check_breaking(root, program)
        if found:
            return found
    golden.parent.mkdir(parents=True, exist_ok=True)
    return Buf(root, program).dump(golden)


def _program():
    installed = pathlib.Path(__file__).resolve().parents[2] / "build/venv/bin/buf"
    return str(installed) if installed.exists() else "buf"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--buf", default=_program())
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--break", action="store_true", dest="may_break")
    options = parser.parse_args()
    if options.update:
        sources.finish(update(options.root, options.buf, options.may_break))
    sources.finish(check(options.root, options.buf))
