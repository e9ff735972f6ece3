#!/usr/bin/env python3
"""Every header compiles on its own, so that including it is all a caller has to do.

Where `x.cc` includes `x.h` first and is compiled without a precompiled header,
the build has proven it already. The other headers are compiled here, with the
flags that their folder's sources are built with.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

import sources

_INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
_FOLDERS = ("common/", "services/", "tests/", "bench/")


def _commands(build, root):
    """Source -> compiler command, for the sources of ours in `build`."""
    commands = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if path.is_relative_to(root):
            arguments = entry.get("arguments") or shlex.split(entry["command"])
            commands.setdefault(path.relative_to(root).as_posix(), (entry["directory"], arguments))
    return commands


def _proven(name, root, commands):
    source = name[:-2] + ".cc"
    if source not in commands or "cmake_pch" in " ".join(commands[source][1]):
        return False
    first = _INCLUDE.search(sources.without_comments((root / source).read_text()))
    return bool(first) and first.group(1) == name


def _flags(name, commands):
    """The command to compile header `name` with: its own source's, a neighbour's, a parent's."""
    own = name[:-2] + ".cc"
    if own in commands:
        return commands[own]
    folder = name.rpartition("/")[0]
    while folder:
        neighbours = [source for source in sorted(commands) if source.startswith(folder + "/")]
        if neighbours:
            # A folder may build a core that sees less than its edges do.
            return max((commands[source] for source in neighbours),
                       key=lambda command: sum(word.startswith(("-I", "-isystem"))
                                               for word in command[1]))
        folder = folder.rpartition("/")[0]
    return None


def _compiler(arguments):
    """`arguments` without a launcher, an output and a precompiled header."""
    start = next(i for i, word in enumerate(arguments)
                 if re.fullmatch(r"(.*/)?(clang|g|c)\+\+(-\d+)?", word))
    kept = []
    words = iter(arguments[start:])
    for word in words:
        if word in ("-o", "-include", "-include-pch", "-MF", "-MT", "-MQ"):
            next(words)
        elif word == "-Xclang":
            next(words)
        elif word in ("-c", "-MD", "-MMD", "-Winvalid-pch") or word.startswith("-fpch"):
            continue
        elif not word.endswith(".cc"):
            kept.append(word)
    return kept


def check(root, build):
    """Returns the headers that do not compile on their own, with the first error."""
    root, build = pathlib.Path(root).resolve(), pathlib.Path(build).resolve()
    commands = _commands(build, root)
    found = []
    to_compile = []
    for path in sources.files(root, ".h"):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_FOLDERS) or _proven(name, root, commands):
            continue
        command = _flags(name, commands)
        if command is None:
            found.append(f"{name}:1: no target compiles a source of this folder")
        else:
            to_compile.append((name, command))

    launcher = [ccache] if (ccache := shutil.which("ccache")) else []

    def compiles(job):
        name, (directory, arguments) = job
        # A file that includes the header, at a place that stays: ccache remembers it.
        source = build / "lint_headers" / f"{name}.cc"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(f'#include "{name}"\n')
        with tempfile.NamedTemporaryFile(suffix=".o") as output:
            done = subprocess.run(
                [*launcher, *_compiler(arguments), "-w", "-O0", "-g0", "-U_FORTIFY_SOURCE",
                 "-c", str(source), "-o", output.name],
                cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return None
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        return f"{name}:1: does not compile on its own: {first.replace(str(root) + '/', '')}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found += [finding for finding in pool.map(compiles, to_compile) if finding]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--build", type=pathlib.Path, required=True,
                        help="a finished build, with compile_commands.json")
    options = parser.parse_args()
    sources.finish(check(options.root, options.build))
