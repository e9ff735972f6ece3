"""Unmodified OpenTelemetry SDKs of Python, Node, Go and Java: every instrument,
both protocols, both temporalities, with and without gzip. In the middle of it
the collector is restarted and killed, the aggregator is killed, the endpoint moves
to a second collector and back, and the clients are restarted; and every bin of
every window equals brute force over what the clients say they recorded.

All clients run at once against one weir, so each is in the middle of something else
when something happens; each is then compared as a test of its own. sdks/README.md
says what the clients do. `-k` selects clients too:

  build/venv/bin/python -m pytest tests/e2e/test_otlp_sdks.py -k "go and grpc"

The time of a point is the SDK's: some moment between the start and the end of its
round. Bins that a round may have reached both of are compared as their sum.
"""

import bisect
import dataclasses
import itertools
import math
import os
import pathlib
import random
import time

import pytest

import oracle
import processes
import protos
import session
import workload
from forwarder import Forwarder
from sdk_clients import CASES, LABELS, Case, Client, Round

# Name -> kind, and whether its values are integers.
INSTRUMENTS = {
    "sdk.requests": (protos.COUNTER, True),
    "sdk.cost": (protos.COUNTER, False),
    "sdk.in_flight": (protos.UP_DOWN_COUNTER, True),
    "sdk.duration": (protos.DISTRIBUTION, False),
    "sdk.size": (protos.DISTRIBUTION, False),
    "sdk.temperature": (protos.GAUGE, False),
    "sdk.steps": (protos.COUNTER, True),
    "sdk.open": (protos.UP_DOWN_COUNTER, True),
    "sdk.depth": (protos.GAUGE, True),
}
# The bounds all SDKs give a histogram by default; a bucket includes its upper one.
EXPLICIT_BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)


class TwoCollectors(processes.Deployment):
    """Two collectors that deliver to one aggregator."""

    separate = True

    def __init__(self, folder: pathlib.Path, store_url: str):
        super().__init__(folder, store_url)
        aggregator_address = f"127.0.0.1:{processes.free_port()}"
        self.aggregator = processes.Process(
            "weir-aggregator",
            [
                *("--store.url", store_url),
                *("--listen", aggregator_address),
                *("--ops_listen", f"127.0.0.1:{processes.free_port()}"),
            ],
            folder / "aggregator.log",
            ("aggregator", "ops"),
        )
        self.collectors = []
        # By protocol, one per collector.
        self.otlp_addresses: dict[str, list[str]] = {"grpc": [], "http/protobuf": []}
        for number in (1, 2):
            addresses = {
                protocol: f"127.0.0.1:{processes.free_port()}" for protocol in self.otlp_addresses
            }
            for protocol, address in addresses.items():
                self.otlp_addresses[protocol].append(address)
            self.collectors.append(
                processes.Process(
                    "weir-collector",
                    [
                        *("--wal.directory", str(folder / f"wal-{number}")),
                        *("--listen", addresses["grpc"]),
                        *("--http_listen", addresses["http/protobuf"]),
                        *("--aggregator.address", aggregator_address),
                        *("--ops_listen", f"127.0.0.1:{processes.free_port()}"),
                    ],
                    folder / f"collector-{number}.log",
                    ("collector", "ops"),
                )
            )
        self.collector = self.collectors[0]
        self.processes = [self.aggregator, *self.collectors]


class Campaign:
    """All clients, through everything that happens to them."""

    def __init__(self, deployment: TwoCollectors, cases: list[Case], seed: int):
        self._deployment = deployment
        self._random = random.Random(seed)
        self._forwarders = {protocol: Forwarder() for protocol in deployment.otlp_addresses}
        self._clients = [
            Client(
                case,
                self._forwarders[case.protocol].port,
                self._random.randrange(1 << 31),
                deployment.folder,
            )
            for case in cases
        ]

    def client(self, case: Case) -> Client:
        (found,) = [client for client in self._clients if client.case == case]
        return found

    def run(self) -> None:
        collector = self._deployment.collectors[0]
        self._point_at(0)
        for client in self._clients:
            client.start()
        self._round()
        self._round()
        collector.terminate()
        collector.start()
        self._round()
        self._round(meanwhile=self._kill_the_collector, may_fail=True)
        self._round()
        self._deployment.aggregator.kill()
        self._round()
        self._deployment.aggregator.start()
        self._switch_to(1)
        self._switch_to(0)
        self._restart_the_clients()
        self._round()
        self._round()
        self._quit(self._clients)
        self._deployment.wait_complete()

    def close(self) -> None:
        for client in self._clients:
            client.kill()
        for forwarder in self._forwarders.values():
            forwarder.close()

    def _point_at(self, collector: int | None) -> None:
        for protocol, forwarder in self._forwarders.items():
            addresses = self._deployment.otlp_addresses[protocol]
            forwarder.point_at(None if collector is None else addresses[collector])

    def _round(self, meanwhile=None, may_fail: bool = False) -> None:
        for client in self._clients:
            client.begin_round()
        if meanwhile is not None:
            meanwhile()
        for client in self._clients:
            client.end_round(may_fail)

    def _kill_the_collector(self) -> None:
        """While some clients export, and others are about to."""
        collector = self._deployment.collectors[0]
        time.sleep(self._random.uniform(0.02, 0.3))
        collector.kill()
        self._point_at(None)
        collector.start()
        self._point_at(0)

    def _switch_to(self, collector: int) -> None:
        """At once: the aggregator may hear of what follows before it hears of what
        came before. A cumulative point that is overtaken adds nothing, its increase
        is in the one that overtook it."""
        self._point_at(collector)
        # Most notice that their connection is gone; one that does not, and does not
        # try again either, fails.
        time.sleep(0.2)
        self._round(may_fail=True)
        for client in self._clients:
            if client.case.temporality == "cumulative":
                client.rounds[-2].end_ns = client.rounds[-1].end_ns

    def _restart_the_clients(self) -> None:
        """Half of them are asked to end, the others are killed."""
        self._quit(self._clients[::2])
        for client in self._clients[1::2]:
            client.kill()
        for client in self._clients:
            client.start()

    def _quit(self, clients: list[Client]) -> None:
        for client in clients:
            client.begin_quit()
        for client in clients:
            client.end_quit()


@pytest.fixture(scope="module")
def campaign(request, work_dir):
    """Through it all, with the clients of the tests that were selected."""
    selected = {
        item.callspec.params["case"]
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec")
    }
    cases = [case for case in CASES if case in selected and not case.not_run]
    seed = int(os.environ.get("WEIR_TEST_SEED", random.SystemRandom().randrange(1 << 31)))
    folder = work_dir / "sdks"
    folder.mkdir()
    deployment = TwoCollectors(folder, f"sqlite:{folder / 'store.db'}")
    campaign = Campaign(deployment, cases, seed)
    try:
        deployment.start()
        started = time.monotonic()
        campaign.run()
        print(f"WEIR_TEST_SEED={seed}, {len(cases)} clients: {time.monotonic() - started:.1f} s")
        with session.connect(deployment.query_address) as channel:
            campaign.queries = protos.query_grpc.QueryServiceStub(channel)
            yield campaign
        deployment.stop()
    except BaseException:
        print(f"WEIR_TEST_SEED={seed}\n{deployment.logs()}")
        raise
    finally:
        campaign.close()
        deployment.kill()


@dataclasses.dataclass
class Span:
    """Adjacent bins that rounds reached, and may have reached several of."""

    first_seconds: int
    last_seconds: int
    rounds: list[Round]


def _spans(rounds: list[Round], width: int) -> list[Span]:
    spans: list[Span] = []
    for one in rounds:
        first = oracle.align_down(one.start_ns // oracle.SECOND, width)
        last = oracle.align_down(one.end_ns // oracle.SECOND, width)
        if spans and first <= spans[-1].last_seconds:
            spans[-1].last_seconds = max(spans[-1].last_seconds, last)
            spans[-1].rounds.append(one)
        else:
            spans.append(Span(first, last, [one]))
    return spans


@dataclasses.dataclass
class Answer:
    """What weir says of one metric of one client in one window."""

    name: str
    window: str
    kind: int
    # Labels -> start in seconds -> bin, for bins that are no gaps.
    series: dict


def _ask(queries, client: Client, name: str, window: str, end_ns: int) -> Answer:
    kind, _ = INSTRUMENTS[name]
    functions = [f for f in workload.functions(kind) if f != protos.query.FUNCTION_STDDEV]
    answer = queries.QueryWindow(
        protos.query.QueryWindowRequest(
            window=window,
            name=name,
            labels={"service.instance.id": client.instance},
            group_by=protos.query.GroupBy(labels=LABELS),
            end_time=oracle.timestamp_of(end_ns),
            functions=functions,
            quantiles=oracle.QUANTILES if kind == protos.DISTRIBUTION else (),
        ),
        timeout=30,
    )
    series = {}
    for entry in answer.series:
        assert entry.kind == kind, f"{name} is answered as {protos.sample.Kind.Name(entry.kind)}"
        labels = tuple(entry.labels.get(label, "") for label in LABELS)
        series[labels] = {
            oracle.seconds_of(bin_.start_time): bin_ for bin_ in entry.bins if bin_.count
        }
    return Answer(name, window, kind, series)


def _differences(client: Client, answer: Answer, lost: list[Round]) -> list[str]:
    """What is wrong with `answer`, in words, if the rounds `lost` were not counted."""
    width, _ = oracle.WINDOWS[answer.window]
    every_labels = set(answer.series) | {
        labels
        for one in client.rounds
        for name, labels, _ in one.measurements
        if name == answer.name
    }
    wrong = []
    for labels in sorted(every_labels):
        bins = dict(answer.series.get(labels, {}))
        gauge = GaugeExpectation()
        total = 0.0
        for span in _spans(client.rounds, width):
            of_rounds = [
                (one, [v for name, l, v in one.measurements if (name, l) == (answer.name, labels)])
                for one in span.rounds
            ]
            starts = range(span.first_seconds, span.last_seconds + width, width)
            got = [bins.pop(start) for start in starts if start in bins]
            if answer.kind == protos.GAUGE:
                lines = gauge.differences(got, of_rounds, lost)
            else:
                values = [v for one, values in of_rounds if one not in lost for v in values]
                total += sum(abs(v) for v in values)
                if answer.kind == protos.DISTRIBUTION:
                    lines = _distribution_differences(client.case, answer.name, got, values, total)
                else:
                    lines = _sum_differences(answer.name, got, values, total)
            wrong += [
                f"{answer.name}{labels} in {answer.window}, bins {starts}: {line}" for line in lines
            ]
        if bins:
            wrong.append(f"{answer.name}{labels} in {answer.window}: bins from nowhere {bins}")
    return wrong


def _close(got: float, want: float, total: float) -> bool:
    """Doubles added in another order to `total`, of which earlier ones were taken."""
    return math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-12 * total)


def _sum_differences(name: str, got: list, values: list, total: float) -> list[str]:
    if not INSTRUMENTS[name][1]:
        found, want = math.fsum(bin_.sum for bin_ in got), math.fsum(values)
        return [] if _close(found, want, total) else [f"the sum is {found!r}, not {want!r}"]
    if not all(bin_.HasField("integer_sum") for bin_ in got):
        return ["the sum is not an integer"]
    found, want = sum(int(bin_.integer_sum) for bin_ in got), sum(values)
    return [] if found == want else [f"the sum is {found}, not {want}, of {len(values)} values"]


class GaugeExpectation:
    """A gauge's bins, one after the other. An SDK exports the last value of a round,
    and may export it again in later rounds of its process."""

    def __init__(self):
        self._known: float | None = None

    def differences(self, got: list, of_rounds: list, lost: list[Round]) -> list[str]:
        must: list[float] = []
        may: list[float] = []
        last: set[float] = set()
        for one, values in of_rounds:
            if one.first_of_its_process:
                self._known = None
            if values:
                self._known = float(values[-1])
            if self._known is None:
                continue
            if values and one.ok and one not in lost:
                must.append(self._known)
                last = {self._known}
            else:
                may.append(self._known)
                last.add(self._known)
        if not got:
            return [f"nothing there, not {must}"] if must else []
        lowest = min(bin_.min for bin_ in got)
        highest = max(bin_.max for bin_ in got)
        wrong = []
        if lowest not in must + may or lowest > min(must, default=lowest):
            wrong.append(f"the minimum is {lowest!r} of {must}, perhaps {may}")
        if highest not in must + may or highest < max(must, default=highest):
            wrong.append(f"the maximum is {highest!r} of {must}, perhaps {may}")
        if got[-1].last not in last:
            wrong.append(f"the last is {got[-1].last!r}, not {last}")
        if sum(bin_.count for bin_ in got) < len(must):
            wrong.append(f"fewer than {len(must)} values")
        return wrong


def _distribution_differences(
    case: Case, name: str, got: list, values: list, total: float
) -> list[str]:
    count = sum(bin_.count for bin_ in got)
    if count != len(values):
        return [f"the count is {count}, not {len(values)}"]
    if not values:
        return []
    wrong = []
    found, want = math.fsum(bin_.sum for bin_ in got), math.fsum(values)
    if not _close(found, want, total):
        wrong.append(f"the sum is {found!r}, not {want!r}")
    # Of a cumulative point, they are those since the process started.
    if case.temporality == "delta":
        extremes = min(bin_.min for bin_ in got), max(bin_.max for bin_ in got)
        if extremes != (min(values), max(values)):
            wrong.append(f"from {extremes}, not from {min(values), max(values)}")
    if len(got) == 1:
        wrong += _quantile_differences(name, got[0].quantiles, sorted(values))
    return wrong


def _quantile_differences(name: str, quantiles, ordered: list[float]) -> list[str]:
    wrong = []
    for entry in quantiles:
        true = [ordered[rank - 1] for rank in oracle.ranks(entry.quantile, len(ordered))]
        share = entry.relative_error * (1 + 1e-9)
        near = (v == entry.value or abs(entry.value - v) <= abs(v) * share for v in true)
        # An error of all of it says that the value may be anywhere in its bucket.
        if entry.relative_error < 1 and not any(near):
            wrong.append(
                f"quantile {entry.quantile} is {entry.value!r} give or take "
                f"{entry.relative_error} of it, not {true!r}"
            )
        # Nine decades in 160 buckets would allow 0.09, but some SDKs come down to powers
        # of two when their first value is far from the others: a third of the value.
        if name == "sdk.size" and not 0 <= entry.relative_error <= 0.34:
            wrong.append(f"quantile {entry.quantile} has the error {entry.relative_error}")
        if name == "sdk.duration" and not any(_in_bucket(entry.value, v) for v in true):
            wrong.append(f"quantile {entry.quantile} is {entry.value!r}, far from {true!r}")
    return wrong


def _in_bucket(estimate: float, value: float) -> bool:
    """Whether `estimate` is in the explicit bucket of `value`, or hardly out of it."""
    index = bisect.bisect_left(EXPLICIT_BOUNDS, value)
    lowest = EXPLICIT_BOUNDS[index - 1] if index else -math.inf
    highest = EXPLICIT_BOUNDS[index] if index < len(EXPLICIT_BOUNDS) else math.inf
    return lowest * 0.95 <= estimate <= highest * 1.05


def _failed_exports(client: Client) -> list[Round]:
    """The rounds whose export the SDK gave up, which it may when its connection was
    cut and at no other time."""
    failed = [one for one in client.rounds if not one.ok]
    assert all(one.may_fail for one in failed), f"exports failed\n{client.log_tail()}"
    return failed


@pytest.fixture
def client(case, request):
    """The client of `case`, with all that happened behind it."""
    if case.not_run:
        pytest.skip(f"{case.language} is not run here: {case.not_run}")
    return request.getfixturevalue("campaign").client(case)


def _check(campaign: Campaign, client: Client, names: list[str]) -> None:
    failed = _failed_exports(client)
    # What was cumulative comes with the next export. Of a delta that was given up
    # nobody knows whether it was counted: all of it was, or nothing.
    in_doubt = failed if client.case.temporality == "delta" else []
    if client.case.temporality == "cumulative":
        next_end_ns = 0
        for one in reversed(client.rounds):
            next_end_ns = one.end_ns if one.ok else max(one.end_ns, next_end_ns)
            one.end_ns = next_end_ns
    end_ns = time.time_ns()
    answers = [
        _ask(campaign.queries, client, name, window, end_ns)
        for name in names
        for window in oracle.WINDOWS
    ]
    fewest: list[str] | None = None
    for chosen in itertools.product((False, True), repeat=len(in_doubt)):
        lost = list(itertools.compress(in_doubt, chosen))
        wrong = [line for answer in answers for line in _differences(client, answer, lost)]
        if fewest is None or len(wrong) < len(fewest):
            fewest = wrong
    if fewest:
        pytest.fail(f"{len(fewest)} differences:\n" + "\n".join(fewest[:30]), pytrace=False)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_sum_and_gauge_equals_what_the_sdk_recorded(case, client, request):
    recorded = {name for one in client.rounds for name, _, _ in one.measurements}
    assert recorded == set(INSTRUMENTS)
    names = [name for name, (kind, _) in INSTRUMENTS.items() if kind != protos.DISTRIBUTION]
    _check(request.getfixturevalue("campaign"), client, names)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_histogram_equals_what_the_sdk_recorded(case, client, request):
    names = [name for name, (kind, _) in INSTRUMENTS.items() if kind == protos.DISTRIBUTION]
    _check(request.getfixturevalue("campaign"), client, names)
