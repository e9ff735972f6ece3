"""What a failed call says to programs: google.rpc.ErrorInfo in its trailer."""

import grpc
from google.rpc import error_details_pb2, status_pb2


def details(error: grpc.RpcError) -> list:
    """The messages of `grpc-status-details-bin`, decoded; empty without one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            found = []
            for packed in status_pb2.Status.FromString(value).details:
                for message in (
                    error_details_pb2.ErrorInfo(),
                    error_details_pb2.RetryInfo(),
                    error_details_pb2.BadRequest(),
                ):
                    if packed.Unpack(message):
                        found.append(message)
            return found
    return []


def info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    return next((d for d in details(error) if isinstance(d, error_details_pb2.ErrorInfo)), None)


def reason(error: grpc.RpcError) -> str:
    """The `ErrorReason` of a failed call by name, "" when it has none."""
    found = info(error)
    if found is None:
        return ""
    assert found.domain == "weir.dev", found
    return found.reason
