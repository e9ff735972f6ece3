"""kill -9 of collector, aggregator and database, again and again, under load: what was
acknowledged is what is counted, to the last bit of a 64-bit sum.

WEIR_STORM_SECONDS sets how long (20 by default), WEIR_TEST_SEED what is sent and
when the kills come.
"""

import collections
import os
import random
import threading
import time

import database
import oracle
import protos
import session
from conftest import make_deployment

STORM_SECONDS = float(os.environ.get("WEIR_STORM_SECONDS", "20"))
CLIENTS = 3
BATCH_SAMPLES = 200
NAME = "storm.value"


class Ledger:
    """(labels, bin start) -> [count, sum] per width, of everything sent. Each
    client has its own; what is sent is sent until it is acknowledged."""

    def __init__(self) -> None:
        self.bins = {width: collections.defaultdict(lambda: [0, 0]) for width in (10, 60)}
        self.samples = 0

    def add(self, samples) -> None:
        for sample in samples:
            for width, bins in self.bins.items():
                cell = bins[database.key_of(sample, width)]
                cell[0] += 1
                cell[1] += sample.value
        self.samples += len(samples)

    def merge(self, other: "Ledger") -> None:
        for width, bins in other.bins.items():
            for key, (count, total) in bins.items():
                cell = self.bins[width][key]
                cell[0] += count
                cell[1] += total
        self.samples += other.samples


class Client:
    """Sends batches as fast as they are acknowledged, until told to stop."""

    def __init__(self, address: str, number: int, seed: int, stop: threading.Event):
        self.ledger = Ledger()
        self.failure: BaseException | None = None
        self.session = session.Session(
            address,
            max_in_flight=4,
            ack_level=protos.sample.ACK_LEVEL_COMMITTED if number == 0 else 0,
        )
        self._random = random.Random(f"{seed}/{number}")
        self._stop = stop
        # Half of the series are shared by all clients.
        self._series = [oracle.series(NAME, protos.UP_DOWN_COUNTER, s=str(i)) for i in range(20)]
        self._series += [
            oracle.series(NAME, protos.UP_DOWN_COUNTER, s=str(i), client=str(number))
            for i in range(20)
        ]
        self.thread = threading.Thread(target=self._run, name=f"client {number}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                now = time.time_ns()
                samples = [
                    oracle.Sample(
                        self._random.choice(self._series),
                        now - int(self._random.random() ** 4 * 120 * oracle.SECOND),
                        self._random.randrange(-(1 << 63), 1 << 63),
                    )
                    for _ in range(BATCH_SAMPLES)
                ]
                self.session.send(samples, timeout=60)
                self.ledger.add(samples)
            self.session.wait_acked(timeout=60)
            assert not self.session.rejections, self.session.rejections
        except BaseException as error:  # reported by the test's own thread
            self.failure = error
        finally:
            self.session.close()


class Killer:
    """Kills a process about every second and starts it again at once."""

    def __init__(self, process, seed: int, stop: threading.Event):
        self.kills = 0
        self.failure: BaseException | None = None
        self._process = process
        self._random = random.Random(f"{seed}/{process.name}")
        self._stop = stop
        self.thread = threading.Thread(
            target=self._run, name=f"killer of {process.name}", daemon=True
        )
        self.thread.start()

    def _run(self) -> None:
        process = self._process
        try:
            while not self._stop.wait(self._random.uniform(0.2, 1.8)):
                assert process.running, f"{process.name} died by itself:\n{process.log_tail()}"
                process.kill()
                self.kills += 1
                # Sometimes killed again before it serves.
                process.start(wait=self._random.random() < 0.8)
        except BaseException as error:  # reported by the test's own thread
            self.failure = error


class Database:
    """The PostgreSQL server as something to kill: all of its processes end at
    once, and commits that were under way happened or did not."""

    name = "postgres"
    running = True

    def __init__(self, cluster):
        self._cluster = cluster
        self.log_tail = cluster.log_tail

    def kill(self) -> None:
        self._cluster.stop("immediate")

    def start(self, *, wait: bool) -> None:
        self._cluster.start()


def _differences(what: str, found: dict, expected: dict) -> list[str]:
    """Both map a bin to (count, sum)."""
    wrong = []
    for key in sorted(found.keys() | expected.keys()):
        got, want = found.get(key, (0, 0)), tuple(expected.get(key, (0, 0)))
        if got != want:
            wrong.append(
                f"{what} {key}: count {got[0]} of {want[0]}, sum off by {got[1] - want[1]}"
            )
    return wrong


def _answered(deployment, window: str, start: int, end: int) -> dict:
    request = protos.query.QueryWindowRequest(
        window=window,
        name=NAME,
        start_time=oracle.timestamp_of(start * oracle.SECOND),
        end_time=oracle.timestamp_of(end * oracle.SECOND),
        functions=[protos.query.FUNCTION_SUM],
    )
    answer = deployment.query_window(request)
    return {
        (tuple(sorted(entry.labels.items())), bin_.start_time.seconds): (
            bin_.count,
            int(bin_.integer_sum),
        )
        for entry in answer.series
        for bin_ in entry.bins
        if bin_.count
    }


def _storm(deployment, victims, seed: int) -> None:
    """Load and kills for STORM_SECONDS, then every bin compared, in three ways."""
    started = time.time()
    stop_killing, stop_sending = threading.Event(), threading.Event()
    clients = [
        Client(deployment.ingest_address, number, seed, stop_sending) for number in range(CLIENTS)
    ]
    killers = [Killer(victim, seed, stop_killing) for victim in victims]
    try:
        deadline = time.monotonic() + STORM_SECONDS
        while time.monotonic() < deadline and not any(
            worker.failure for worker in (*clients, *killers)
        ):
            time.sleep(0.1)
    finally:
        stop_killing.set()
        for killer in killers:
            killer.thread.join(timeout=60)
        stop_sending.set()
        for client in clients:
            client.thread.join(timeout=120)
    failures = [worker.failure for worker in (*clients, *killers) if worker.failure]
    assert not failures, failures
    for process in deployment.processes:
        process.wait_serving()
    settling = time.monotonic()
    deployment.wait_complete()
    settled = time.monotonic() - settling

    truth = Ledger()
    for client in clients:
        truth.merge(client.ledger)
    counts = [client.session.counts for client in clients]
    kills = " ".join(f"{v.name}_kills={k.kills}" for v, k in zip(victims, killers))
    print(
        f"storm seed={seed} seconds={time.time() - started:.0f}"
        f" {kills} samples={truth.samples}"
        f" bins={len(truth.bins[10])} connects={sum(c.connects for c in counts)}"
        f" known_on_reopen={sum(c.known_on_reopen for c in counts)}"
        f" rewinds={sum(c.rewinds for c in counts)} settled={settled:.2f}s"
    )
    start = oracle.align_down(int(started) - 180, 60)
    end = oracle.align_down(int(time.time()) + 60, 60)
    wrong = _differences("5m", _answered(deployment, "5m", start, end), truth.bins[10])
    wrong += _differences("1h", _answered(deployment, "1h", start, end), truth.bins[60])
    wrong += _differences("table", database.exact_bins(deployment.store_url, NAME), truth.bins[10])
    assert not wrong, f"{len(wrong)} bins differ:\n" + "\n".join(wrong[:40])

    view = database.view_bins(deployment.store_url, "5m", NAME)
    assert {key: row[0] for key, row in view.items()} == {
        key: cell[0] for key, cell in truth.bins[10].items()
    }
    database.check_integrity(deployment.store_url)
    assert all(killer.kills >= STORM_SECONDS / 4 for killer in killers), [
        killer.kills for killer in killers
    ]
    assert truth.samples >= STORM_SECONDS * 50, "too little load to prove anything"


def test_what_was_acknowledged_is_counted_exactly_through_kill_9(separate, seed):
    _storm(separate, [separate.collector, separate.aggregator], seed)


def test_one_process_with_everything_in_it_survives_kill_9(work_dir, request, seed):
    deployment = make_deployment(work_dir / "all_in_one", "sqlite", "all_in_one", request)
    try:
        deployment.start()
        _storm(deployment, deployment.processes, seed)
        deployment.stop()
    finally:
        deployment.kill()


def test_a_database_that_crashes_leaves_no_commit_in_doubt(work_dir, request, seed):
    deployment = make_deployment(work_dir / "database", "postgres", "separate", request)
    try:
        deployment.start()
        _storm(deployment, [Database(request.getfixturevalue("postgres_cluster"))], seed)
        print(
            f"commits that had happened though nobody heard:"
            f" {deployment.aggregator.metric('weir_indoubt_commits_total'):.0f}"
        )
        deployment.stop()
    finally:
        deployment.kill()
