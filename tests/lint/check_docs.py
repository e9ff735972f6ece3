#!/usr/bin/env python3
"""What is written keeps its word: links lead somewhere, nothing is left for later, no machine is named."""

import pathlib
import re

import sources

# Text that is not ours to change.
_FOREIGN = {"LICENSE"}
_TEXT = {".cc", ".h", ".py", ".md", ".proto", ".sql", ".cmake", ".txt", ".json", ".yaml", ".yml",
         ".sh", ".toml", ".js", ".ts", ".html", ".css", ""}

# Written in pieces, so that this file does not find itself.
_LEFT_FOR_LATER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
_MACHINE_PATH = re.compile(r"(?<![\w.~/])/(ho" + r"me|Us" + r"ers)/\w+|(?<![\w.~/])/ro" + r"ot/")

_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def _blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def _prose(text):
    """`text` without code, whose brackets are no links."""
    return re.sub(r"`[^`\n]*`", _blank, _FENCE.sub(_blank, text))


def _anchors(text):
    """The fragments that the headings of a Markdown text answer to."""
    seen = {}
    anchors = set()
    for heading in _HEADING.findall(_FENCE.sub(_blank, text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        anchors.add(slug if count == 0 else f"{slug}-{count}")
    return anchors


def _broken(path, root, target):
    """Why the link `target` in `path` leads nowhere, or None."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    place, _, fragment = target.partition("#")
    goal = (path if not place else
            root / place.lstrip("/") if place.startswith("/") else path.parent / place)
    if not goal.exists():
        return "no such file"
    if fragment and goal.suffix == ".md" and fragment not in _anchors(goal.read_text()):
        return "no such heading"
    return None


def check(root):
    """Returns broken links, work left for later and paths of somebody's machine."""
    root = pathlib.Path(root)
    found = []
    for path in sources.files(root):
        name = path.relative_to(root).as_posix()
        if path.suffix not in _TEXT or name in _FOREIGN:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for pattern, what in ((_LEFT_FOR_LATER, "do it, or file it"),
                              (_MACHINE_PATH, "a path of one machine")):
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name}:{line}: {match.group()}: {what}")
        if path.suffix == ".md":
            prose = _prose(text)
            for match in _LINK.finditer(prose):
                target = match.group(1) or match.group(2)
                reason = _broken(path, root, target)
                if reason:
                    line = prose.count("\n", 0, match.start()) + 1
                    found.append(f"{name}:{line}: {target}: {reason}")
    return found


if __name__ == "__main__":
    sources.main(check, __doc__.splitlines()[0])
