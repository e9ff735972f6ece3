"""What somebody with grpcurl and nothing else can do."""

import json
import random
import time

import pytest
from google.protobuf import json_format

import grpcurl
import oracle
import protos
import workload

KIND_NAMES = {number: name for name, number in protos.sample.Kind.items()}


def _as_json(sample: oracle.Sample) -> dict:
    value = (
        {"integer_value": str(sample.value)}
        if isinstance(sample.value, int)
        else {"value": sample.value}
    )
    return {
        "name": sample.series.name,
        "kind": KIND_NAMES[sample.series.kind],
        "labels": dict(sample.series.labels),
        "event_time": oracle.timestamp_of(sample.time_ns).ToJsonString(),
        **value,
    }


def _push(deployment, samples, **fields):
    return grpcurl.call(
        deployment.ingest_address,
        "weir.v1.IngestService/Push",
        {"samples": samples, **fields},
        protos.ingest.PushResponse(),
    )


def _accepted(count: int, **fields):
    return protos.ingest.PushResponse(accepted_count=count, **fields)


def _query(deployment, request):
    """QueryWindow through grpcurl, as a message."""
    return grpcurl.call(
        deployment.query_address,
        "weir.v1.QueryService/QueryWindow",
        json_format.MessageToDict(request),
        protos.query.QueryWindowResponse(),
    )


def test_reflection_lists_every_service(deployment):
    ingest = grpcurl.run(deployment.ingest_address, "list").stdout.split()
    assert {
        "weir.v1.IngestService",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "grpc.health.v1.Health",
    } <= set(ingest), ingest
    queries = grpcurl.run(deployment.query_address, "list").stdout.split()
    assert {"weir.v1.QueryService", "grpc.health.v1.Health"} <= set(queries), queries
    described = grpcurl.run(deployment.query_address, "describe", "weir.v1.QueryService").stdout
    assert "rpc QueryWindow" in described and "rpc ListSeries" in described


def test_health_says_serving(deployment):
    deployment.wait_complete()  # so the slots are claimed
    for address, service in (
        (deployment.ingest_address, "weir.v1.IngestService"),
        (deployment.query_address, "weir.v1.QueryService"),
    ):
        for name in ("", service):
            answer = grpcurl.run(address, "grpc.health.v1.Health/Check", data={"service": name})
            assert json.loads(answer.stdout) == {"status": "SERVING"}, (address, name)


def test_a_push_without_a_time_counts_now(deployment):
    before = time.time_ns()
    answer = _push(deployment, [{"name": "push.now", "kind": "KIND_GAUGE", "value": 21.5}])
    assert answer == _accepted(1), answer
    after = time.time_ns()
    deployment.wait_complete()
    request = protos.query.QueryWindowRequest(window="5m", name="push.now")
    found = [b for entry in _query(deployment, request).series for b in entry.bins if b.count]
    assert len(found) == 1 and found[0].count == 1 and found[0].sum == 21.5
    first = oracle.align_down(before // oracle.SECOND, 10)
    assert first <= found[0].start_time.seconds <= after // oracle.SECOND


def test_pushed_samples_of_every_kind_fill_every_window(deployment, seed):
    """Gauges, counters, up-down counters and distributions, now and up to a year late."""
    generator = random.Random(seed)
    now = time.time_ns()
    truth = oracle.Oracle()
    series = workload.some_series("push.every")
    for oldest in (300, 3600, 24 * 3600, 30 * 24 * 3600, 364 * 24 * 3600):
        samples = workload.some_samples(generator, series, 80, now, oldest)
        answer = _push(deployment, [_as_json(sample) for sample in samples])
        assert answer == _accepted(len(samples)), answer
        truth.add(samples)
    deployment.wait_complete()
    end_ns = now + oracle.SECOND
    for name, kind in sorted({(s.series.name, s.series.kind) for s in truth.samples}):
        for window in oracle.WINDOWS:
            request = workload.full_request(window, name, kind, end_ns=end_ns)
            oracle.check_answer(_query(deployment, request), truth.of(name, kind), request)


def test_groups_labels_and_patterns_choose_what_is_merged(deployment, seed):
    generator = random.Random(seed)
    now = time.time_ns()
    truth = oracle.Oracle()
    truth.add(workload.some_samples(generator, workload.some_series("push.group"), 200, now, 300))
    _push(deployment, [_as_json(sample) for sample in truth.samples])
    deployment.wait_complete()
    kind, name = protos.DISTRIBUTION, "push.group.latency"

    def check(samples, **fields):
        request = workload.full_request("5m", name, kind, end_ns=now + oracle.SECOND)
        request.MergeFrom(protos.query.QueryWindowRequest(**fields))
        assert oracle.check_answer(_query(deployment, request), samples, request) > 0

    everything = truth.of(name, kind)
    check(everything, group_by=protos.query.GroupBy())
    check(everything, group_by=protos.query.GroupBy(labels=["region"]))
    check(truth.of(name, kind, model="gpt-5"), labels={"model": "gpt-5"})
    matcher = protos.query.LabelMatcher
    check(
        [s for s in everything if s.series.label("model").startswith("claude")],
        matchers=[matcher(label="model", pattern="claude-.*")],
    )
    check(
        [s for s in everything if s.series.label("region") == ""],
        matchers=[matcher(label="region", pattern="")],
    )
    check(
        [s for s in everything if not s.series.label("region").startswith("eu")],
        matchers=[matcher(label="region", pattern="eu.*", exclude=True)],
    )


# A sample that is rejected, and the reason it is given.
BAD_SAMPLES = [
    ("NAME_INVALID", {"name": "", "kind": "KIND_GAUGE", "value": 1}),
    ("NAME_INVALID", {"name": "n" * 257, "kind": "KIND_GAUGE", "value": 1}),
    ("NAME_INVALID", {"name": "zero\0byte", "kind": "KIND_GAUGE", "value": 1}),
    ("LABEL_INVALID", {"name": "m", "kind": "KIND_GAUGE", "value": 1, "labels": {"l" * 129: "v"}}),
    ("LABEL_INVALID", {"name": "m", "kind": "KIND_GAUGE", "value": 1, "labels": {"l": "v" * 1025}}),
    (
        "TOO_MANY_LABELS",
        {
            "name": "m",
            "kind": "KIND_GAUGE",
            "value": 1,
            "labels": {f"l{i}": "v" for i in range(33)},
        },
    ),
    (
        "TOO_MANY_LABELS",
        {
            "name": "m",
            "kind": "KIND_GAUGE",
            "value": 1,
            "labels": {f"l{i}": "v" * 1000 for i in range(9)},
        },
    ),
    ("KIND_INVALID", {"name": "m", "value": 1}),
    ("KIND_INVALID", {"name": "m", "kind": 77, "value": 1}),
    ("VALUE_MISSING", {"name": "m", "kind": "KIND_GAUGE"}),
    ("VALUE_NOT_FINITE", {"name": "m", "kind": "KIND_GAUGE", "value": "NaN"}),
    ("VALUE_NOT_FINITE", {"name": "m", "kind": "KIND_GAUGE", "value": "-Infinity"}),
    ("VALUE_NEGATIVE", {"name": "m", "kind": "KIND_COUNTER", "value": -0.5}),
    ("VALUE_NEGATIVE", {"name": "m", "kind": "KIND_COUNTER", "integer_value": -1}),
    (
        "TIME_TOO_OLD",
        {"name": "m", "kind": "KIND_GAUGE", "value": 1, "event_time": "2020-01-01T00:00:00Z"},
    ),
    (
        "TIME_TOO_OLD",
        {"name": "m", "kind": "KIND_GAUGE", "value": 1, "event_time": "0001-01-01T00:00:00Z"},
    ),
    (
        "TIME_IN_FUTURE",
        {"name": "m", "kind": "KIND_GAUGE", "value": 1, "event_time": "9999-12-31T23:59:59Z"},
    ),
]


def test_bad_samples_are_rejected_beside_neighbours_that_are_kept(deployment):
    samples = []
    for index, (_, bad) in enumerate(BAD_SAMPLES):
        samples.append(
            {"name": "push.neighbour", "kind": "KIND_COUNTER", "integer_value": 1 << index}
        )
        samples.append(bad)
    now = time.time_ns() + 11 * 60 * oracle.SECOND
    samples.append(
        {
            "name": "m",
            "kind": "KIND_GAUGE",
            "value": 1,
            "event_time": oracle.timestamp_of(now).ToJsonString(),
        }
    )
    answer = _push(deployment, samples)
    expected: dict = {"TIME_IN_FUTURE": 1}
    for reason, _ in BAD_SAMPLES:
        expected[reason] = expected.get(reason, 0) + 1
    assert answer.accepted_count == len(BAD_SAMPLES)
    assert answer.rejected_count == len(BAD_SAMPLES) + 1
    found = {protos.reason_name(entry.reason): entry.count for entry in answer.rejections}
    assert found == expected
    assert all(entry.message for entry in answer.rejections)
    deployment.wait_complete()
    request = protos.query.QueryWindowRequest(window="5m", name="push.neighbour")
    (entry,) = _query(deployment, request).series
    assert sum(int(b.integer_sum) for b in entry.bins if b.count) == (1 << len(BAD_SAMPLES)) - 1


def test_an_idempotency_key_makes_a_retry_safe(deployment):
    samples = [{"name": "push.idempotent", "kind": "KIND_COUNTER", "integer_value": 7}]
    first = _push(deployment, samples, idempotency_key="order-1")
    again = _push(deployment, samples, idempotency_key="order-1")
    other = _push(deployment, samples, idempotency_key="order-2")
    _push(deployment, samples)
    _push(deployment, samples)
    assert first == other == _accepted(1)
    assert again == _accepted(1, duplicate=True)
    deployment.wait_complete()
    request = protos.query.QueryWindowRequest(window="5m", name="push.idempotent")
    (entry,) = _query(deployment, request).series
    assert sum(b.count for b in entry.bins) == 4
    assert sum(int(b.integer_sum) for b in entry.bins if b.count) == 28


def test_a_committed_push_is_in_the_answer_at_once(deployment):
    _push(
        deployment,
        [{"name": "push.committed", "kind": "KIND_GAUGE", "value": 3}],
        ack_level="ACK_LEVEL_COMMITTED",
    )
    request = protos.query.QueryWindowRequest(window="5m", name="push.committed")
    (entry,) = _query(deployment, request).series
    assert sum(b.count for b in entry.bins) == 1


def test_an_empty_push_is_fine(deployment):
    assert _push(deployment, []) == _accepted(0)


def test_kinds_of_one_name_are_not_mixed(deployment):
    _push(
        deployment,
        [
            {"name": "push.kinds", "kind": "KIND_GAUGE", "value": 1},
            {"name": "push.kinds", "kind": "KIND_DISTRIBUTION", "value": 2},
        ],
    )
    deployment.wait_complete()
    error = _error(deployment, {"window": "5m", "name": "push.kinds"})
    assert (error["code"], error["reason"]) == (9, "KIND_MISMATCH"), error
    assert "kinds" in error["metadata"]
    request = protos.query.QueryWindowRequest(
        window="5m", name="push.kinds", kind=protos.DISTRIBUTION
    )
    (entry,) = _query(deployment, request).series
    assert [b.sum for b in entry.bins if b.count] == [2.0]
    error = _error(
        deployment,
        {
            "window": "5m",
            "name": "push.kinds",
            "kind": "KIND_GAUGE",
            "functions": ["FUNCTION_RATE"],
        },
    )
    assert (error["code"], error["reason"]) == (9, "KIND_MISMATCH"), error
    error = _error(
        deployment, {"window": "5m", "name": "push.kinds", "kind": "KIND_GAUGE", "quantiles": [0.5]}
    )
    assert (error["code"], error["reason"]) == (9, "KIND_MISMATCH"), error


def _error(deployment, data: dict, method: str = "weir.v1.QueryService/QueryWindow") -> dict:
    """Code, reason and metadata of a query that fails, as grpcurl shows them."""
    done = grpcurl.run(deployment.query_address, method, data=data, check=False)
    assert done.returncode != 0, done.stdout
    status = json.loads(done.stderr)
    (info,) = [d for d in status["details"] if d["@type"].endswith("google.rpc.ErrorInfo")]
    assert info["domain"] == "weir.dev"
    return {
        "code": status["code"],
        "reason": info["reason"],
        "metadata": info.get("metadata", {}),
        "message": status["message"],
    }


def test_an_unknown_window_is_answered_with_the_valid_ones(deployment):
    error = _error(deployment, {"window": "7m", "name": "m"})
    assert (error["code"], error["reason"]) == (3, "UNKNOWN_WINDOW"), error
    assert error["metadata"] == {"window": "7m", "valid": "5m,1h,24h,30d,1y"}
    assert all(window in error["message"] for window in oracle.WINDOWS)


@pytest.mark.parametrize(
    "reason, data",
    [
        ("INVALID_FIELD", {"window": "5m"}),
        ("INVALID_FIELD", {"window": "5m", "name": "m", "quantiles": [1.5]}),
        (
            "INVALID_FIELD",
            {
                "window": "5m",
                "name": "m",
                "start_time": "2026-01-02T00:00:00Z",
                "end_time": "2026-01-01T00:00:00Z",
            },
        ),
        ("INVALID_FIELD", {"window": "5m", "name": "m", "functions": [99]}),
        (
            "INVALID_PATTERN",
            {"window": "5m", "name": "m", "matchers": [{"label": "l", "pattern": "("}]},
        ),
    ],
)
def test_a_wrong_query_names_what_is_wrong(deployment, reason, data):
    error = _error(deployment, data)
    assert (error["code"], error["reason"]) == (3, reason), error


def test_series_are_listed_in_pages(deployment):
    wanted = {("push.listed", f"m{i}") for i in range(23)}
    _push(
        deployment,
        [
            {"name": name, "kind": "KIND_GAUGE", "value": 1, "labels": {"model": model}}
            for name, model in sorted(wanted)
        ],
    )
    deployment.wait_complete()

    def pages(**fields):
        token = ""
        while True:
            answer = grpcurl.call(
                deployment.query_address,
                "weir.v1.QueryService/ListSeries",
                {"name": "push.listed", "page_token": token, **fields},
                protos.query.ListSeriesResponse(),
            )
            yield answer.series
            token = answer.next_page_token
            if not token:
                return

    found = list(pages(page_size=5))
    assert [len(page) for page in found] == [5, 5, 5, 5, 3]
    listed = [entry for page in found for entry in page]
    assert {(entry.name, entry.labels["model"]) for entry in listed} == wanted
    ids = [entry.series_id for entry in listed]
    assert ids == sorted(set(ids)) and all(len(id_) == 32 for id_ in ids)
    assert all(entry.kind == protos.GAUGE for entry in listed)
    assert sum(len(page) for page in pages()) == 23
    assert sum(len(page) for page in pages(labels={"model": "m7"})) == 1
    assert sum(len(page) for page in pages(matchers=[{"label": "model", "pattern": "m1.?"}])) == 11
