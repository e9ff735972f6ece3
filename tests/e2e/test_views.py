"""The tables are for people too: the views say what brute force says."""

import json
import math
import random
import time

import database
import oracle
import protos
import session
import workload


def test_the_views_agree_with_brute_force(own_deployment, seed):
    truth = oracle.Oracle()
    with session.Session(own_deployment.ingest_address) as sender:
        for _ in range(20):
            samples = workload.some_samples(
                random.Random(f"{seed}/{len(truth.samples)}"),
                workload.some_series("views"),
                100,
                time.time_ns(),
                1800,
            )
            sender.send(samples)
            truth.add(samples)
        sender.wait_acked()
    own_deployment.wait_complete()
    url = own_deployment.store_url
    for name, kind in sorted({(s.series.name, s.series.kind) for s in truth.samples}):
        for window, (width, _) in oracle.WINDOWS.items():
            expected: dict = {}
            for sample in truth.of(name, kind):
                expected.setdefault(database.key_of(sample, width), []).append(sample.value)
            found = database.view_bins(url, window, name)
            assert found.keys() == expected.keys(), f"{name} in {window}"
            for key, values in expected.items():
                count, total, lowest, highest = found[key]
                wanted = (len(values), float(min(values)), float(max(values)))
                assert (count, lowest, highest) == wanted, f"{name} in {window}, {key}"
                scale = max(abs(value) for value in values) * len(values)
                assert math.isclose(
                    total, float(math.fsum(values)), rel_tol=1e-12, abs_tol=1e-12 * scale
                ), f"{name} in {window}, {key}"


def test_metric_aggregates_has_the_columns_people_know(own_deployment):
    now = time.time_ns()
    one = oracle.series("views.known", protos.GAUGE, model="gpt-5")
    with session.Session(own_deployment.ingest_address) as sender:
        sender.send([oracle.Sample(one, now, value) for value in (1.5, 2.5, 5.0)])
        sender.wait_acked()
    own_deployment.wait_complete()
    for window in oracle.WINDOWS:
        ((name, size, _, tags, lowest, highest, mean, count),) = database.aggregates(
            own_deployment.store_url, window, "views.known"
        )
        tags = json.loads(tags) if isinstance(tags, str) else tags
        assert (name, size, tags) == ("views.known", window, {"model": "gpt-5"})
        assert (lowest, highest, mean, count) == (1.5, 5.0, 3.0, 3)
