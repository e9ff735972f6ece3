"""weir's executables as processes: started, waited for, killed, stopped, and
their logs shown when a test fails.

WEIR_BIN names the folder the executables are in.
"""

import fcntl
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import grpc

import protos
import session

READY_SECONDS = 30  # generous: a sanitizer build on a busy machine
STOP_SECONDS = 20

_SERVING = re.compile(r"\bmsg=serving\b.*?\bservice=(\w+)\b.*?\baddress=(\S+)")


def executable(name: str) -> str:
    folder = os.environ.get("WEIR_BIN")
    assert (
        folder
    ), "WEIR_BIN is not set: the folder that holds weir, weir-collector and weir-aggregator"
    path = pathlib.Path(folder) / name
    assert path.is_file(), f"{path} does not exist"
    return str(path)


_reserved = []  # the locks of this process's ports, held until it ends


def free_port() -> int:
    """A port nobody listens on, below the range the kernel hands out, so that it
    stays free while the process that uses it is dead. No other test gets it, in this
    process or in one that runs beside it."""
    locks = pathlib.Path(tempfile.gettempdir()) / f"weir-e2e-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    while True:
        port = random.SystemRandom().randint(20_000, 32_000)
        lock = (locks / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _reserved.append(lock)
        return port


def environment() -> dict[str, str]:
    """Ours without what weir itself would read as configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}


class Process:
    """One executable with fixed arguments, started any number of times; the log
    of all its lives is one file."""

    def __init__(
        self, name: str, arguments: list[str], log_path: pathlib.Path, services: tuple[str, ...]
    ):
        self.name = name
        self.log_path = log_path
        self.addresses: dict[str, str] = {}
        self.starts = 0
        self._command = [executable(name), *arguments]
        self._services = services
        self._child: subprocess.Popen | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self, *, wait: bool = True) -> float:
        """Starts it and returns the seconds until every service served."""
        assert not self.running, f"{self.name} is running already"
        self.addresses = {}
        started = time.monotonic()
        with open(self.log_path, "ab") as log:
            log.write(f"--- start {self.starts + 1}: {' '.join(self._command)}\n".encode())
            log.flush()
            self._log_offset = log.tell()
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log_path.parent,
                env=environment(),
            )
        self.starts += 1
        if wait:
            self.wait_serving()
        return time.monotonic() - started

    def wait_serving(self, timeout: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while True:
            for service, address in _SERVING.findall(self.log_of_this_life()):
                self.addresses.setdefault(service, address)  # the first is the one asked for
            if all(service in self.addresses for service in self._services):
                return
            code = self._child.poll()
            assert (
                code is None
            ), f"{self.name} exited with {code} before it served:\n{self.log_tail()}"
            assert (
                time.monotonic() < deadline
            ), f"{self.name} does not serve after {timeout} s:\n{self.log_tail()}"
            time.sleep(0.005)

    def kill(self) -> None:
        """kill -9, and the process is gone when this returns."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def terminate(self, timeout: float = STOP_SECONDS) -> float:
        """SIGTERM; asserts a clean exit and returns the seconds it took."""
        code = self._child and self._child.poll()
        assert self.running, f"{self.name} does not run: exit code {code}\n{self.log_tail()}"
        started = time.monotonic()
        self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            tail = self.log_tail()
            self.kill()
            raise AssertionError(
                f"{self.name} still runs {timeout} s after SIGTERM:\n{tail}"
            ) from None
        assert code == 0, f"{self.name} exited with {code} after SIGTERM:\n{self.log_tail()}"
        return time.monotonic() - started

    def wait_exit(self, timeout: float) -> int:
        """Its exit code, once it ends by itself."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} does not end by itself:\n{self.log_tail()}"
            ) from None

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        _, body = http_get(self.addresses["ops"], "/metrics")
        (value,) = [line.split()[1] for line in body.splitlines() if line.split()[0] == name]
        return float(value)

    def log_of_this_life(self) -> str:
        with open(self.log_path, "rb") as log:
            log.seek(self._log_offset)
            return log.read().decode(errors="replace")

    def log_tail(self, lines: int = 60) -> str:
        text = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join([f"--- {self.log_path} ({len(text)} lines)", *text[-lines:]])


class Deployment:
    """A running weir: where to send samples and where to ask.

    `processes` are started in order and stopped in reverse.
    """

    def __init__(self, folder: pathlib.Path, store_url: str):
        self.folder = folder
        self.store_url = store_url
        self.processes: list[Process] = []

    # Which process serves what.
    collector: Process
    aggregator: Process
    separate = False

    @property
    def ingest_address(self) -> str:
        return self.collector.addresses["collector"]

    @property
    def http_address(self) -> str:
        """Where OTLP over HTTP and remote write are served."""
        return self.collector.addresses["http"]

    @property
    def query_address(self) -> str:
        return self.aggregator.addresses["aggregator"]

    def start(self) -> None:
        for process in self.processes:
            process.start()

    def stop(self) -> None:
        """SIGTERM to all, clean exits asserted."""
        for process in reversed(self.processes):
            if process.running:
                process.terminate()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def logs(self, lines: int = 60) -> str:
        return "\n".join(process.log_tail(lines) for process in self.processes)

    def query_window(self, request, *, timeout: float = 30):
        with session.connect(self.query_address) as channel:
            return protos.query_grpc.QueryServiceStub(channel).QueryWindow(request, timeout=timeout)

    def list_series(self, request, *, timeout: float = 30):
        with session.connect(self.query_address) as channel:
            return protos.query_grpc.QueryServiceStub(channel).ListSeries(request, timeout=timeout)

    def push(self, request, *, timeout: float = 30):
        with session.connect(self.ingest_address) as channel:
            return protos.ingest_grpc.IngestServiceStub(channel).Push(request, timeout=timeout)

    def wait_complete(self, until_ns: int | None = None, *, timeout: float = 60) -> None:
        """Waits until answers hold everything acknowledged before `until_ns`, now
        by default, by their own word: `complete_until` is past it."""
        if until_ns is None:
            until_ns = time.time_ns()
        request = protos.query.QueryWindowRequest(window="5m", name="no.such.metric")
        deadline = time.monotonic() + timeout
        answer = None
        while time.monotonic() < deadline:
            try:
                answer = self.query_window(request)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                if (
                    answer.HasField("complete_until")
                    and answer.complete_until.ToNanoseconds() > until_ns
                ):
                    return
            time.sleep(0.05)
        raise AssertionError(
            f"complete_until does not pass {until_ns} in {timeout} s; last answer:\n{answer}"
        )


class AllInOne(Deployment):
    """`weir run`: collector and aggregator in one process."""

    def __init__(self, folder: pathlib.Path, store_url: str = "", extra: tuple[str, ...] = ()):
        super().__init__(folder, store_url)
        arguments = ["run", "--data_dir", str(folder / "data")]
        for flag in ("--listen", "--http_listen", "--query_listen", "--ops_listen"):
            arguments += [flag, f"127.0.0.1:{free_port()}"]
        if store_url:
            arguments += ["--store.url", store_url]
        process = Process(
            "weir",
            [*arguments, *extra],
            folder / "weir.log",
            ("collector", "http", "aggregator", "ops"),
        )
        self.processes = [process]
        self.collector = self.aggregator = process


class Separate(Deployment):
    """`weir-collector` and `weir-aggregator`, each its own process."""

    separate = True

    def __init__(
        self,
        folder: pathlib.Path,
        store_url: str,
        *,
        collector_extra: tuple[str, ...] = (),
        aggregator_extra: tuple[str, ...] = (),
    ):
        super().__init__(folder, store_url)
        aggregator_address = f"127.0.0.1:{free_port()}"
        self.aggregator = Process(
            "weir-aggregator",
            [
                "--store.url",
                store_url,
                "--listen",
                aggregator_address,
                "--ops_listen",
                f"127.0.0.1:{free_port()}",
                *aggregator_extra,
            ],
            folder / "aggregator.log",
            ("aggregator", "ops"),
        )
        self.collector = Process(
            "weir-collector",
            [
                "--wal.directory",
                str(folder / "wal"),
                "--listen",
                f"127.0.0.1:{free_port()}",
                "--http_listen",
                f"127.0.0.1:{free_port()}",
                "--aggregator.address",
                aggregator_address,
                "--ops_listen",
                f"127.0.0.1:{free_port()}",
                *collector_extra,
            ],
            folder / "collector.log",
            ("collector", "http", "ops"),
        )
        self.processes = [self.aggregator, self.collector]


def http_get(address: str, path: str, timeout: float = 5) -> tuple[int, str]:
    """Status and body, also of a refusal."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
