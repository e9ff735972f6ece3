"""A well-behaved client in a process of its own: pushes one sample after the other,
and notes how long each took. Beside a test that is busy, a thread of the test's own
process would measure that process."""

import multiprocessing
import time

import grpc

import protos

_spawn = multiprocessing.get_context("spawn")


def _push(address: str, metric: str, stop, answer) -> None:
    seconds = []
    failure = None
    with grpc.insecure_channel(address) as channel:
        push = protos.ingest_grpc.IngestServiceStub(channel).Push
        sample = protos.ingest.Sample(name=metric, kind=protos.COUNTER, integer_value=1)
        request = protos.ingest.PushRequest(samples=[sample])
        push(request, timeout=30)  # connects, and is not timed
        while not stop.is_set() and failure is None:
            start = time.monotonic()
            try:
                accepted = push(request, timeout=30).accepted_count
                failure = None if accepted == 1 else f"{accepted} accepted"
            except grpc.RpcError as error:
                failure = str(error)
            seconds.append(time.monotonic() - start)
            time.sleep(0.002)
    answer.put((seconds, failure))


class Neighbour:
    def __init__(self, address: str, metric: str):
        self._stop = _spawn.Event()
        self._answer = _spawn.Queue()
        self._process = _spawn.Process(
            target=_push, args=(address, metric, self._stop, self._answer), daemon=True
        )
        self._process.start()

    def stop(self) -> list[float]:
        """How long each push took, in seconds, and there is one more that is not told
        of. Fails when any of them failed."""
        self._stop.set()
        seconds, failure = self._answer.get(timeout=60)
        self._process.join()
        assert failure is None, failure
        return seconds


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]
