"""Every error of the tree has its HTTP status and gRPC code."""

from collections.abc import Iterator

import pytest

from sagascope_collector import errors
from sagascope_collector.ingest import Encoding
from sagascope_collector.otlp import answers

EXPECTED = {
    errors.Undecodable: (400, "INVALID_ARGUMENT"),
    errors.TooLarge: (413, "RESOURCE_EXHAUSTED"),
    errors.Unauthenticated: (401, "UNAUTHENTICATED"),
    errors.Overloaded: (503, "UNAVAILABLE"),
    errors.StorageUnavailable: (503, "UNAVAILABLE"),
}


def leaves(error: type[errors.SagascopeError]) -> Iterator[type[errors.SagascopeError]]:
    below = error.__subclasses__()
    yield from (leaf for each in below for leaf in leaves(each)) if below else (error,)


@pytest.mark.parametrize("leaf", list(leaves(errors.SagascopeError)))
def test_every_leaf_is_mapped_and_none_to_500(leaf: type[errors.SagascopeError]) -> None:
    answer = answers.http_error(leaf("why"), Encoding.PROTOBUF)
    code, text, metadata = answers.grpc_error(leaf("why"))
    assert answer.status in {400, 401, 413, 503}
    assert text == "why"
    if leaf in EXPECTED:
        assert (answer.status, code.name) == EXPECTED[leaf]
    passing = issubclass(leaf, errors.Unavailable)
    waits = [float(value) for name, value in answer.headers if name == b"retry-after"]
    assert passing == bool(metadata) == bool(waits)
    assert waits == ([leaf.retry_after] if issubclass(leaf, errors.Unavailable) else [])
