"""Every command of the README works, and prints what the README says."""

import difflib
import os
import pathlib
import re
import subprocess

import pytest

import grpcurl
import processes
import protos
import readme

README = protos.SOURCE_ROOT / "README.md"
DEFAULT_PORTS = {"4317": "collector", "7102": "aggregator"}


def test_sessions_are_read_as_written():
    page = "\n".join(
        [
            "text",
            "```sh",
            "$ not a session",
            "```",
            "```console",
            "$ echo one",
            "one",
            "",
            "$ echo \\",
            "  two 'a",
            "> b'",
            "two a",
            "...",
            "```",
            "$ not inside",
        ]
    )
    found = readme.commands(page)
    assert [(c.line, c.text, c.output) for c in found] == [
        (6, "echo one", ["one", ""]),
        (9, "echo \\\n  two 'a\nb'", ["two a", "..."]),
    ]
    assert readme.Command(1, "scripts/run --port 1", []).script == "scripts/run"
    assert readme.Command(1, "grpcurl scripts/run", []).script == ""


def test_settings_are_read_as_written():
    page = "\n".join(
        [
            "```console",
            "$ echo one",
            "```",
            "```sh",
            "# A comment.",
            "weir-collector --wal.directory /var \\",
            "  --listen 'a",
            "b'",
            "",
            "weir run",
            "```",
            "weir-collector outside",
        ]
    )
    assert [(c.line, c.text) for c in readme.settings(page)] == [
        (6, "weir-collector --wal.directory /var \\\n  --listen 'a\nb'"),
        (10, "weir run"),
    ]


@pytest.mark.parametrize(
    "same, pattern, output",
    [
        (True, ["a", "b"], ["a", "b"]),
        (False, ["a", "b"], ["a"]),
        (False, ["a"], ["a", "b"]),
        (True, ['"at": "...Z",'], ['"at": "2026-01-02T03:04:05Z",']),
        (False, ['"at": "...Z",'], ['"at": "2026-01-02T03:04:05Z"']),
        (True, ["{", "  ...", "}"], ["{", "1", "2", "}"]),
        (True, ["{", "...", "}"], ["{", "}"]),
        (False, ["{", "...", "}"], ["{", "1"]),
        (True, [], []),
        (False, ["a.c"], ["abc"]),
        (True, ["a  "], ["a"]),
    ],
)
def test_dots_match_anything_and_nothing_else_does(same, pattern, output):
    assert readme.matches(pattern, output) == same


@pytest.fixture
def all_in_one(work_dir):
    folder = work_dir / "readme"
    folder.mkdir()
    deployment = processes.AllInOne(folder)
    try:
        deployment.start()
        yield deployment
        deployment.stop()
    finally:
        deployment.kill()


def _with_addresses(text: str, deployment) -> str:
    for port, service in DEFAULT_PORTS.items():
        actual = deployment.processes[0].addresses[service].rsplit(":", 1)[1]
        text = re.sub(rf"(localhost|127\.0\.0\.1):{port}\b", rf"\1:{actual}", text)
    return text


def _without_blank_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def test_every_command_of_the_readme_prints_what_it_shows(all_in_one, tmp_path):
    found = readme.commands(README.read_text(encoding="utf-8"))
    assert any(
        command.script == "scripts/run" for command in found
    ), "the README starts with scripts/run"
    assert any("grpcurl" in command.text for command in found), "the README shows grpcurl"
    (tmp_path / "scripts").symlink_to(protos.SOURCE_ROOT / "scripts")
    tools = [str(pathlib.Path(grpcurl.path()).parent), os.environ["WEIR_BIN"]]
    environment = {**processes.environment(), "PATH": os.pathsep.join([*tools, os.environ["PATH"]])}
    wrong = []
    for command in found:
        if command.script:
            script = protos.SOURCE_ROOT / command.script
            assert os.access(
                script, os.X_OK
            ), f"README.md:{command.line}: {command.script} is no executable"
            continue
        # As a reader would: the answer to a question asked too soon is not wrong,
        # only early, so wait for what was pushed to be committed.
        all_in_one.wait_complete()
        text = _with_addresses(command.text, all_in_one)
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        output = _without_blank_end((done.stdout + done.stderr).splitlines())
        pattern = _without_blank_end([_with_addresses(line, all_in_one) for line in command.output])
        print(f"README.md:{command.line}: {command.text.splitlines()[0]} -> {done.returncode}")
        if done.returncode != 0 or not readme.matches(pattern, output):
            wrong.append(
                f"README.md:{command.line}: $ {text}\nexit code {done.returncode}\n"
                + "\n".join(difflib.unified_diff(pattern, output, "shown", "printed", lineterm=""))
            )
    assert not wrong, "\n\n".join(wrong)


def _print_config(text: str, folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", text + " --print_config"],
        cwd=folder,
        env={
            **processes.environment(),
            "PATH": os.pathsep.join([os.environ["WEIR_BIN"], os.environ["PATH"]]),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_every_setting_of_the_readme_is_one(tmp_path):
    """Not run as they stand, they listen and keep data where a reader wants it; but
    they are weir's, and the executables know each flag and take its value."""
    found = readme.settings(README.read_text(encoding="utf-8"))
    programs = {command.text.split()[0] for command in found}
    assert {"weir-collector", "weir-aggregator"} <= programs, programs
    for command in found:
        assert command.text.startswith("weir"), f"README.md:{command.line}: {command.text}"
        shown = _print_config(command.text, tmp_path)
        assert shown.returncode == 0, f"README.md:{command.line}: {shown.stderr}"
        wrong = _print_config(command.text + " --no_such_flag", tmp_path)
        assert wrong.returncode > 0, f"README.md:{command.line}: any flag would do"
    assert not list(tmp_path.iterdir()), "something was started"
