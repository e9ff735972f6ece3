"""Clients made with OpenTelemetry's SDKs, as processes: what sdks/README.md says they
do, and what they say they recorded. scripts/test installs them into build/clients."""

import dataclasses
import itertools
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time

ROUND_SECONDS = 90
SOURCES = pathlib.Path(__file__).resolve().parent / "sdks"
CLIENTS = pathlib.Path(os.environ.get("WEIR_SDK_CLIENTS", SOURCES.parents[2] / "build" / "clients"))
LABELS = ("model", "stream", "shard")


@dataclasses.dataclass(frozen=True)
class Case:
    language: str
    protocol: str
    temporality: str
    compression: str

    def __str__(self) -> str:
        protocol = self.protocol.partition("/")[0]
        return f"{self.language}-{protocol}-{self.temporality}-{self.compression}"

    @property
    def not_run(self) -> str:
        """Why it cannot run on this machine, as scripts/test found; "" if it can."""
        reason = CLIENTS / self.language / "not_run"
        return reason.read_text().strip() if reason.is_file() else ""

    def command(self) -> list[str]:
        folder = CLIENTS / self.language
        if self.language == "python":
            return [sys.executable, str(SOURCES / "python" / "client.py")]
        if self.language == "node":
            assert (folder / "node_modules").is_dir(), f"{folder}: scripts/test installs it"
            return [shutil.which("node"), str(SOURCES / "node" / "client.js")]
        if self.language == "go":
            assert (folder / "client").is_file(), f"{folder}: scripts/test builds it"
            return [str(folder / "client")]
        assert (folder / "classes").is_dir(), f"{folder}: scripts/test builds it"
        # A process that lives for seconds: neither optimise for long, nor take much.
        options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"]
        return ["java", *options, "-cp", f"{folder}/classes:{folder}/libraries/*", "Client"]


CASES = [
    Case(*values)
    for values in itertools.product(
        ("python", "node", "go", "java"),
        ("grpc", "http/protobuf"),
        ("delta", "cumulative"),
        ("none", "gzip"),
    )
]


@dataclasses.dataclass(eq=False)
class Round:
    """What a client recorded, and when it may have been exported."""

    start_ns: int
    end_ns: int
    ok: bool
    # (instrument, labels, value), in the order recorded.
    measurements: list
    # A new process knows nothing of the values before.
    first_of_its_process: bool
    # Its connection was cut meanwhile, and an SDK may give up.
    may_fail: bool


class Client:
    """A client's process, restarted at will, and all its rounds."""

    def __init__(self, case: Case, port: int, seed: int, folder: pathlib.Path):
        self.case = case
        self.instance = str(case)
        self.rounds: list[Round] = []
        self.log_path = folder / f"client-{case}.log"
        self._seed = seed
        self._lives = 0
        self._first = True
        self._started_ns = 0
        self._child: subprocess.Popen | None = None
        self._lines: queue.Queue = queue.Queue()
        self._arguments = [
            *case.command(),
            *("--endpoint", f"http://127.0.0.1:{port}"),
            *("--protocol", case.protocol),
            *("--temporality", case.temporality),
            *("--compression", case.compression),
            *("--instance", self.instance),
        ]

    def start(self) -> None:
        environment = {**os.environ, "NODE_PATH": str(CLIENTS / "node" / "node_modules")}
        with open(self.log_path, "ab") as log:
            self._child = subprocess.Popen(
                [*self._arguments, "--seed", str(self._seed + self._lives)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        self._lives += 1
        self._first = True
        self._lines = queue.Queue()
        threading.Thread(
            target=_read_lines, args=(self._child.stdout, self._lines), daemon=True
        ).start()

    def begin_round(self) -> None:
        self._started_ns = time.time_ns()
        self._write("round")

    def end_round(self, may_fail: bool = False) -> None:
        measurements = []
        deadline = time.monotonic() + ROUND_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.case} does not answer\n{self.log_tail()}") from None
            assert line is not None, f"{self.case} ended by itself\n{self.log_tail()}"
            if line in ("ok", "failed"):
                break
            parsed = json.loads(line)
            labels = {name: _text(value) for name, value in parsed["attributes"].items()}
            measurements.append(
                (
                    parsed["instrument"],
                    tuple(labels.get(name, "") for name in LABELS),
                    parsed["value"],
                )
            )
        self._note(line == "ok", measurements, may_fail)

    def begin_quit(self) -> None:
        """Its SDK may export once more, though there is nothing new."""
        self._started_ns = time.time_ns()
        self._write("quit")

    def end_quit(self) -> None:
        code = self._child.wait(ROUND_SECONDS)
        assert code == 0, f"{self.case} exited with {code}\n{self.log_tail()}"
        self._note(True, [], False)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def log_tail(self, lines: int = 30) -> str:
        text = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join([f"--- {self.log_path} ({len(text)} lines)", *text[-lines:]])

    def _write(self, line: str) -> None:
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def _note(self, ok: bool, measurements: list, may_fail: bool) -> None:
        self.rounds.append(
            Round(self._started_ns, time.time_ns(), ok, measurements, self._first, may_fail)
        )
        self._first = False


def _read_lines(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line.strip())
    lines.put(None)


def _text(value) -> str:
    """An attribute's value as the label weir makes of it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
