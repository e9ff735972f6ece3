"""Engines' own metric names become one canonical name and unit, whichever way they
come in; what is outside a canonical metric's range is rejected with its reason."""

import time

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as otlp
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as otlp_grpc

import oracle
import protos
import session
from conftest import make_deployment

CACHE = "llm.kv_cache.utilization"


def _push(deployment, name: str, pod: str, **value):
    return deployment.push(
        protos.ingest.PushRequest(
            samples=[
                protos.ingest.Sample(name=name, kind=protos.GAUGE, labels={"pod": pod}, **value)
            ]
        )
    )


def _stream(deployment, name: str, pod: str, values: list) -> None:
    with session.Session(deployment.ingest_address) as sender:
        sender.send(
            oracle.Sample(oracle.series(name, protos.GAUGE, pod=pod), time.time_ns(), value)
            for value in values
        )
        sender.wait_acked()


def _export(deployment, name: str, pod: str, value: float):
    request = otlp.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    point = metric.gauge.data_points.add(time_unix_nano=time.time_ns(), as_double=value)
    point.attributes.add(key="pod").value.string_value = pod
    with grpc.insecure_channel(deployment.ingest_address) as channel:
        return otlp_grpc.MetricsServiceStub(channel).Export(request, timeout=30)


def _last(deployment, name: str) -> dict:
    deployment.wait_complete()
    answer = deployment.query_window(
        protos.query.QueryWindowRequest(
            window="1h", name=name, functions=[protos.query.FUNCTION_LAST]
        )
    )
    return {
        tuple(sorted(entry.labels.items())): [b.last for b in entry.bins if b.count][-1]
        for entry in answer.series
    }


def _series(deployment, name: str) -> list:
    request = protos.query.ListSeriesRequest(name=name)
    return list(deployment.list_series(request).series)


def test_every_engine_is_read_in_one_name_and_unit(deployment):
    _push(deployment, "vllm:gpu_cache_usage_perc", "old-vllm", value=0.25)
    _push(deployment, "trtllm_kv_cache_utilization", "trt", integer_value=1)
    _stream(deployment, "sglang:token_usage", "sglang", [0.5])
    _export(deployment, "vllm:kv_cache_usage_perc", "vllm", 0.75)
    _push(deployment, "llm_d_epp_average_kv_cache_utilization", "epp", value=0.5)
    _push(deployment, "inference_pool_average_kv_cache_utilization", "epp", value=0.5)
    assert _last(deployment, CACHE) == {
        (("pod", "old-vllm"),): 0.25,
        (("pod", "trt"),): 1,
        (("pod", "sglang"),): 0.5,
        (("pod", "vllm"),): 0.75,
        (
            ("pod", "epp"),
            ("weir.source_name", "llm_d_epp_average_kv_cache_utilization"),
        ): 0.5,
    }
    assert {series.unit for series in _series(deployment, CACHE)} == {"ratio"}
    # What one process emits beside another name is left where it is.
    (repeat,) = _series(deployment, "inference_pool_average_kv_cache_utilization")
    assert repeat.unit == ""
    assert not _series(deployment, "vllm:kv_cache_usage_perc")

    _stream(deployment, "DCGM_FI_DEV_GPU_UTIL", "gpu", [97])
    _push(deployment, "DCGM_FI_DEV_FB_USED", "gpu", integer_value=1024)
    assert _last(deployment, "gpu.utilization") == {(("pod", "gpu"),): 0.97}
    assert _last(deployment, "gpu.memory.used") == {(("pod", "gpu"),): 1 << 30}


def test_a_percentage_sent_as_a_ratio_is_rejected_alone(deployment):
    name = "vllm:kv_cache_usage_perc"
    answer = _push(deployment, name, "percent", value=75)
    assert (answer.accepted_count, answer.rejected_count) == (0, 1)
    assert answer.rejections[0].reason == protos.error_reason.VALUE_OUT_OF_RANGE
    assert CACHE in answer.rejections[0].message
    answer = _export(deployment, name, "percent", 75)
    assert answer.partial_success.rejected_data_points == 1
    assert "VALUE_OUT_OF_RANGE" in answer.partial_success.error_message
    _stream(deployment, name, "half", [50, 0.5, -1])
    found = _last(deployment, CACHE)
    assert found[(("pod", "half"),)] == 0.5
    assert (("pod", "percent"),) not in found
    assert deployment.collector.log_of_this_life().count("value_out_of_range") >= 1


def test_an_own_file_adds_aliases_and_a_switch_turns_them_off(work_dir, request):
    own = work_dir / "aliases.yaml"
    own.write_text("""
metrics:
  - name: llm.kv_cache.utilization
    unit: ratio
    kind: gauge
    range: [0, 1]
    sources: [{name: "vllm:gpu_cache_usage_perc", scale: 0.01}]
""")
    for extra, name, value in (
        (("--aliases.file", str(own)), CACHE, 0.75),
        (("--aliases.enabled=false",), "vllm:gpu_cache_usage_perc", 75),
    ):
        deployment = make_deployment(
            work_dir / extra[0].strip("-").partition("=")[0],
            "sqlite",
            "all_in_one",
            request,
            extra=extra,
        )
        try:
            deployment.start()
            _push(deployment, "vllm:gpu_cache_usage_perc", "seed", value=75)
            assert _last(deployment, name) == {(("pod", "seed"),): value}
            deployment.stop()
        finally:
            deployment.kill()
