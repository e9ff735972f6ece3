"""What the answers must be: every sample kept, every bin computed by brute force.

Sums are Python integers and fractions, so nothing here rounds. Counts, integer
sums, minimum, maximum and last are compared exactly; what weir computes in
doubles is compared within the error such a computation may have; a quantile is
compared with the sorted samples, within the error the answer itself reports.
"""

import collections
import dataclasses
import math
from fractions import Fraction

from google.protobuf import timestamp_pb2

import protos

SECOND = 1_000_000_000

# The windows served, with the width of their bins and their length in seconds.
WINDOWS = {
    "5m": (10, 5 * 60),
    "1h": (60, 60 * 60),
    "24h": (15 * 60, 24 * 60 * 60),
    "30d": (60 * 60, 30 * 24 * 60 * 60),
    "1y": (24 * 60 * 60, 365 * 24 * 60 * 60),
}

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)


@dataclasses.dataclass(frozen=True)
class Series:
    """What a series is to its user. Make it with `series()`."""

    name: str
    kind: int
    labels: tuple[tuple[str, str], ...] = ()

    def label(self, name: str) -> str:
        return dict(self.labels).get(name, "")


def series(name: str, kind: int, **labels: str) -> Series:
    return Series(name, kind, tuple(sorted((k, v) for k, v in labels.items() if v)))


@dataclasses.dataclass(frozen=True)
class Sample:
    series: Series
    time_ns: int
    value: int | float


class Oracle:
    """Every acknowledged sample. Not thread-safe: one owner adds to it."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def add(self, samples) -> None:
        self.samples.extend(samples)

    def of(self, name: str, kind: int | None = None, **labels: str) -> list[Sample]:
        """The samples of one metric whose series have all of `labels`."""
        return [
            sample
            for sample in self.samples
            if sample.series.name == name
            and (kind is None or sample.series.kind == kind)
            and all(sample.series.label(k) == v for k, v in labels.items())
        ]


def align_down(seconds: int, width: int) -> int:
    return seconds // width * width  # Python rounds towards the past, as weir does


def bins_of(samples, width: int) -> dict[int, list[Sample]]:
    """The samples by the start, in Unix seconds, of the bin that holds them."""
    bins = collections.defaultdict(list)
    for sample in samples:
        bins[align_down(sample.time_ns // SECOND, width)].append(sample)
    return bins


def seconds_of(timestamp: timestamp_pb2.Timestamp) -> int:
    assert timestamp.nanos == 0, f"not a whole second: {timestamp}"
    return timestamp.seconds


def timestamp_of(time_ns: int) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=time_ns // SECOND, nanos=time_ns % SECOND)


def ranks(quantile: float, count: int) -> set[int]:
    """ceil(quantile * count), at least 1, by the decimal that was written and by
    the double that stands for it: they differ where the product is whole."""
    written = math.ceil(Fraction(repr(quantile)) * count)
    return {max(1, written), max(1, math.ceil(quantile * count))}


def differences(got, expected: list[Sample], width: int, functions, quantiles) -> list[str]:
    """What is wrong with one bin of an answer, in words; empty when nothing is."""
    wrong: list[str] = []

    def exact(what, value, want):
        if value != want:
            wrong.append(f"{what} is {value!r}, not {want!r}")

    def close(what, value, want, scale):
        # Doubles added in any order: a few units in the last place per sample.
        if not math.isclose(
            value, want, rel_tol=1e-12, abs_tol=1e-13 * scale * max(1, len(expected))
        ):
            wrong.append(f"{what} is {value!r}, not {want!r}")

    exact("count", got.count, len(expected))
    present = {field.name for field, _ in got.ListFields()}
    if not expected:
        exact("set fields of a gap", present - {"start_time"}, set())
        return wrong
    values = [sample.value for sample in expected]
    exact_values = [Fraction(value) for value in values]
    total = sum(exact_values)
    mean = total / len(values)
    scale = float(max(abs(value) for value in exact_values))

    wanted = {
        protos.query.Function.Name(f).removeprefix("FUNCTION_").lower() for f in functions
    } - {"count"}
    integers = all(isinstance(value, int) for value in values)
    allowed = {"start_time", "count", "quantiles"} | wanted
    if "sum" in wanted and integers:
        allowed.add("integer_sum")
    exact(
        "set fields",
        present - {"start_time", "count", "quantiles"},
        allowed - {"start_time", "count", "quantiles"},
    )

    if "sum" in wanted:
        if integers:
            exact("integer_sum", got.integer_sum, str(sum(values)))
        close("sum", got.sum, float(total), scale)
    if "avg" in wanted:
        close("avg", got.avg, float(mean), scale)
    if "min" in wanted:
        exact("min", got.min, float(min(values)))
    if "max" in wanted:
        exact("max", got.max, float(max(values)))
    if "last" in wanted:
        latest = max(sample.time_ns for sample in expected)
        exact("last", got.last, float(max(s.value for s in expected if s.time_ns == latest)))
    if "rate" in wanted:
        kind = expected[0].series.kind
        per_bin = len(values) if kind == protos.DISTRIBUTION else total
        close("rate", got.rate, float(Fraction(per_bin) / width), scale)
    if "stddev" in wanted:
        variance = sum((value - mean) ** 2 for value in exact_values) / len(values)
        want = math.sqrt(variance)
        # A variance is off by some last places of the largest square in it.
        slack = math.sqrt(float(variance) + 1e-13 * scale * scale) - want + 1e-9 * want
        if abs(got.stddev - want) > slack:
            wrong.append(f"stddev is {got.stddev!r}, not {want!r} within {slack!r}")

    exact("quantiles asked for", [entry.quantile for entry in got.quantiles], list(quantiles))
    ordered = sorted(float(value) for value in values)
    for entry in got.quantiles:
        true = [ordered[rank - 1] for rank in ranks(entry.quantile, len(ordered))]
        if not 0 <= entry.relative_error < 0.1:
            wrong.append(f"quantile {entry.quantile} has the relative error {entry.relative_error}")
        share = entry.relative_error * (1 + 1e-9)
        if all(abs(entry.value - value) > abs(value) * share for value in true):
            wrong.append(
                f"quantile {entry.quantile} is {entry.value!r} "
                f"give or take {entry.relative_error:.4f} of it, not {true!r}"
            )
    return wrong


def check_answer(answer, samples: list[Sample], request) -> int:
    """Asserts that every bin of every series in `answer` is what brute force over
    `samples` gives, and that none is missing. Returns the samples it covered.

    `samples` are those the request selects. Bins no longer kept are not in the
    answer, and samples outside its range are not looked for.
    """
    width, _ = WINDOWS[request.window]
    assert answer.window == request.window
    assert answer.bin_duration.seconds == width and answer.bin_duration.nanos == 0
    start, end = seconds_of(answer.start_time), seconds_of(answer.end_time)
    assert start % width == 0 and end % width == 0 and start <= end, (start, end)
    kept_since = answer.kept_since.seconds if answer.HasField("kept_since") else start
    functions = list(request.functions) or [
        protos.query.FUNCTION_COUNT,
        protos.query.FUNCTION_SUM,
        protos.query.FUNCTION_AVG,
        protos.query.FUNCTION_MIN,
        protos.query.FUNCTION_MAX,
    ]

    def group(sample: Sample):
        labels = sample.series.labels
        if request.HasField("group_by"):
            labels = tuple((k, v) for k, v in labels if k in request.group_by.labels)
        return labels

    # A label with the value "" is the same as none.
    def labels_of(entry):
        return tuple(sorted((k, v) for k, v in entry.labels.items() if v))

    by_group: dict = collections.defaultdict(list)
    for sample in samples:
        if max(start, kept_since) <= sample.time_ns // SECOND < end:
            by_group[group(sample)].append(sample)

    wrong: list[str] = []
    answered = {}
    for entry in answer.series:
        labels = labels_of(entry)
        if labels in answered:
            wrong.append(f"{labels} is answered twice")
        answered[labels] = entry
    wrong += [f"{labels} is missing" for labels in by_group.keys() - answered.keys()]

    covered = 0
    for labels, entry in answered.items():
        expected = bins_of(by_group.get(labels, []), width)
        starts = [seconds_of(bin_.start_time) for bin_ in entry.bins]
        if starts != list(range(starts[0] if starts else end, end, width)):
            wrong.append(
                f"{labels}: bins are not consecutive up to the end: {starts[:3]} ... {starts[-3:]}"
            )
        if starts and starts[0] != max(start, align_down(kept_since, width)):
            wrong.append(f"{labels}: bins start at {starts[0]}, not {max(start, kept_since)}")
        for start_seconds in expected.keys() - set(starts):
            wrong.append(
                f"{labels}: no bin at {start_seconds}, {len(expected[start_seconds])} samples lost"
            )
        for bin_, start_seconds in zip(entry.bins, starts):
            bin_samples = expected.get(start_seconds, [])
            covered += len(bin_samples)
            for line in differences(bin_, bin_samples, width, functions, request.quantiles):
                wrong.append(f"{labels} bin {start_seconds}: {line}")
    assert (
        not wrong
    ), f"{len(wrong)} differences in window {request.window} of {request.name}:\n" + "\n".join(
        wrong[:30]
    )
    return covered
