"""The commands of a Markdown page and what it says they print.

A fenced block marked `console` is a session: a line that starts with `$ ` is a
command, lines that follow it up to the next command are its output. A command
goes on in the next line after a backslash at the end, or while a quote is open.

In output, `...` matches anything within a line, and a line of only `...` any
number of lines: what changes from run to run, such as times and ids, is written
so. Everything else is compared to the letter, but for spaces at a line's end.

Commands that build or start weir, `scripts/...`, are not run: only that the
script exists is checked. Addresses with weir's default ports stand for those of
the weir under test.

A block marked `sh` holds commands for another place or time, a line each, without
output. They are not run as they stand; `settings` finds them.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Command:
    line: int  # in the page, from 1
    text: str
    output: list[str]

    @property
    def script(self) -> str:
        """The script of ours it starts, or ""."""
        first = self.text.split()[0]
        return first.removeprefix("./") if re.match(r"(\./)?scripts/", first) else ""


def _open_quote(text: str) -> bool:
    """Whether a shell would wait for more: a backslash at the end, or a quote."""
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            if position + 1 >= len(text):
                return True
            position += 1
        elif quote:
            if character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        position += 1
    return bool(quote)


def _block_lines(page: str, language: str):
    """The lines of the page's blocks in a language, numbered from 1, with None
    after each block."""
    inside = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            if inside:
                yield number, None
            inside = not inside and line.strip() == f"```{language}"
        elif inside:
            yield number, line


def commands(page: str) -> list[Command]:
    found: list[Command] = []
    text: str | None = None
    for number, line in _block_lines(page, "console"):
        if line is None:
            assert text is None, f"line {number}: the block ends inside a command"
            continue
        if text is not None:
            text += "\n" + line.removeprefix("> ")
        elif line.startswith("$ "):
            text, start = line[2:], number
        else:
            assert found, f"line {number}: output before any command"
            found[-1].output.append(line)
            continue
        if not _open_quote(text):
            found.append(Command(start, text, []))
            text = None
    return found


def settings(page: str) -> list[Command]:
    """The commands of the `sh` blocks: how weir is set up elsewhere."""
    found: list[Command] = []
    text: str | None = None
    for number, line in _block_lines(page, "sh"):
        if line is None:
            assert text is None, f"line {number}: the block ends inside a command"
            continue
        if text is not None:
            text += "\n" + line
        elif not line.strip() or line.lstrip().startswith("#"):
            continue
        else:
            text, start = line, number
        if not _open_quote(text):
            found.append(Command(start, text, []))
            text = None
    return found


def matches(pattern: list[str], output: list[str]) -> bool:
    """Whether `output` is what the page shows, by the convention above."""
    expression = ""
    for line in pattern:
        if line.strip() == "...":
            expression += r"(?:.*\n)*?"
        else:
            expression += (
                ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"
            )
    return re.fullmatch(expression, "".join(line.rstrip() + "\n" for line in output)) is not None
