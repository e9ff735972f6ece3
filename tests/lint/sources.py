"""What the lint checks share: the files of the project, and how to report.

A check is a function from a root folder to a list of findings, one line each,
`path:line: what is wrong`. Its main prints them and fails if there are any.
"""

import argparse
import pathlib
import re
import subprocess
import sys

# Folders that are never ours when git cannot say what is.
_NOT_OURS = {".git", "build", "node_modules", "__pycache__", ".venv", ".cache", "data"}


def files(root, *suffixes):
    """Yields the project's files below `root` with one of `suffixes`, sorted.

    With no suffix, all of them. Asks git for what is tracked or about to be;
    an unpacked archive without git is walked.
    """
    root = pathlib.Path(root)
    names = None
    if (root / ".git").exists():
        # A checkout mounted into a container belongs to somebody else.
        listing = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z",
             "--cached", "--others", "--exclude-standard"],
            capture_output=True, check=False)
        if listing.returncode == 0:
            names = [name.decode() for name in listing.stdout.split(b"\0") if name]
    if names is None:
        names = [path.relative_to(root).as_posix() for path in root.rglob("*")
                 if not _NOT_OURS & set(path.relative_to(root).parts)]
    for name in sorted(set(names)):
        path = root / name
        if path.is_file() and (not suffixes or path.suffix in suffixes):
            yield path


_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)"'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL)


def without_comments(text, strings=False):
    """Blanks the comments of C++ `text`, and with `strings` its literals too.

    Newlines stay, so that line numbers do.
    """
    def blank(match):
        token = match.group()
        if token.startswith(("//", "/*")) or strings:
            return re.sub(r"[^\n]", " ", token)
        return token
    return _TOKEN.sub(blank, text)


def main(check, description):
    """Runs `check` over --root, prints what it finds and exits accordingly."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2],
                        type=pathlib.Path)
    found = check(parser.parse_args().root)
    finish(found)


def finish(found):
    """Prints findings; exits with 1 if there are any."""
    for finding in found:
        print(finding)
    print(f"{len(found)} findings")
    sys.exit(1 if found else 0)
