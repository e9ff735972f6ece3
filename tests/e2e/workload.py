"""Random samples for the tests: every kind, every shape of value, late and not."""

import random

import oracle
import protos

MODELS = ("gpt-5", "claude-opus-4", "llama-3-70b")
REGIONS = ("eu-west-1", "us-east-1", "")


def some_series(prefix: str) -> list[oracle.Series]:
    """Series of every kind, each kind under a name of its own."""
    found = []
    for kind, name in (
        (protos.GAUGE, "queue_depth"),
        (protos.COUNTER, "tokens"),
        (protos.UP_DOWN_COUNTER, "slots_free"),
        (protos.DISTRIBUTION, "latency"),
    ):
        for model in MODELS:
            for region in REGIONS:
                found.append(oracle.series(f"{prefix}.{name}", kind, model=model, region=region))
    return found


def some_value(generator: random.Random, kind: int):
    """A value that its kind allows; integers are as large as sums of them stay
    interesting."""
    if kind == protos.DISTRIBUTION:
        return generator.lognormvariate(0, 1.5)
    if kind == protos.COUNTER:
        return generator.choice((generator.randrange(1 << 62), generator.randrange(100), 0))
    if kind == protos.UP_DOWN_COUNTER:
        return generator.randrange(-(1 << 63), 1 << 63)
    return generator.choice((generator.uniform(-1e6, 1e6), generator.gauss(0, 1e-3), 0.0))


def some_samples(
    generator: random.Random,
    series: list[oracle.Series],
    count: int,
    now_ns: int,
    oldest_seconds: int,
) -> list[oracle.Sample]:
    """`count` samples with event times up to now, half of them in the last minute
    and the others up to `oldest_seconds` back; some exactly on a bin's edge."""
    samples = []
    for _ in range(count):
        one = generator.choice(series)
        back = generator.choice((60, oldest_seconds)) * generator.random()
        time_ns = now_ns - int(back * oracle.SECOND)
        if generator.random() < 0.05:
            time_ns -= time_ns % (60 * oracle.SECOND)
        samples.append(oracle.Sample(one, time_ns, some_value(generator, one.kind)))
    return samples


# What can be asked of each kind: every function it has.
FUNCTIONS = {
    protos.GAUGE: ("COUNT", "SUM", "AVG", "MIN", "MAX", "LAST", "STDDEV"),
    protos.COUNTER: ("COUNT", "SUM", "AVG", "MIN", "MAX", "LAST", "RATE", "STDDEV"),
    protos.UP_DOWN_COUNTER: ("COUNT", "SUM", "AVG", "MIN", "MAX", "LAST", "STDDEV"),
    protos.DISTRIBUTION: ("COUNT", "SUM", "AVG", "MIN", "MAX", "LAST", "RATE", "STDDEV"),
}


def functions(kind: int) -> list[int]:
    return [protos.query.Function.Value(f"FUNCTION_{name}") for name in FUNCTIONS[kind]]


def full_request(window: str, name: str, kind: int, *, end_ns: int):
    """Asks for everything that `kind` has, over the window's length up to `end_ns`."""
    return protos.query.QueryWindowRequest(
        window=window,
        name=name,
        end_time=oracle.timestamp_of(end_ns),
        functions=functions(kind),
        quantiles=oracle.QUANTILES if kind == protos.DISTRIBUTION else (),
    )


def check_every_window(
    deployment, truth: oracle.Oracle, end_ns: int, windows=tuple(oracle.WINDOWS)
) -> int:
    """Every metric of `truth` in every window equals brute force. Returns the
    samples compared, summed over the windows."""
    compared = 0
    for name, kind in sorted({(s.series.name, s.series.kind) for s in truth.samples}):
        samples = truth.of(name, kind)
        for window in windows:
            request = full_request(window, name, kind, end_ns=end_ns)
            compared += oracle.check_answer(deployment.query_window(request), samples, request)
    return compared
