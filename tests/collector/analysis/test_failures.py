"""Errors that leave the outcome of a call unknown, as many libraries word them."""

import pytest

from sagascope_collector.analysis.failures import failure, leaves_outcome_unknown
from support.storied_facts import seen
from support.telemetry import emit


def is_open(error: str, answer: str = "") -> bool:
    story = f'a-1 1..2 call wallet.debit error="{error}" {answer}'
    (span,) = seen(emit(story, {"id": "1", "name": "payment"})).facts("1").spans
    return leaves_outcome_unknown(span, failure(span))


@pytest.mark.parametrize(
    "error",
    [
        "TimeoutError: ",
        "httpx.ReadTimeout: ",
        "requests.exceptions.ReadTimeout: HTTPConnectionPool(host='wallet', port=80): Read timed out.",
        "java.net.SocketTimeoutException: Read timed out",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "httpx.RemoteProtocolError: Server disconnected without sending a response.",
        "aiohttp.ServerDisconnectedError: Server disconnected",
        "BrokenPipeError: [Errno 32] Broken pipe",
        "asyncio.CancelledError: ",
        "*status.Error: rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        "*url.Error: Post http://wallet: context canceled",
        "Error: socket hang up",
        "Error: read ECONNRESET",
        "AbortError: The operation was aborted",
        "TypeError: fetch failed",
        "EOFError: unexpected EOF",
        "kafka.errors.KafkaTimeoutError: no acknowledgement",
        "Error: read timed out; before: connection refused",
        "TimeoutError: read timed out after retries: connection refused",
        "httpx.ReadTimeout: http://circuit.example",
    ],
)
def test_no_answer_leaves_it_open(error: str) -> None:
    assert is_open(error)


@pytest.mark.parametrize(
    "error",
    [
        "ValueError: bad amount",
        "Refused: the account is closed",
        "httpx.ConnectError: All connection attempts failed",
        "httpx.ConnectTimeout: ",
        "ConnectionRefusedError: [Errno 111] Connection refused",
        "Error: connect ECONNREFUSED 127.0.0.1:80",
        "socket.gaierror: [Errno -2] Name or service not known",
        "CircuitBreakerError: circuit open",
        "httpx.PoolTimeout: ",
        "httpx.ConnectTimeout: timed out",
        "TimeoutError: [Errno 110] Connect call failed ('10.0.0.1', 80)",
        "TimeoutError: activity ScheduleToStart timeout",
        "urllib3.exceptions.MaxRetryError: Connection to wallet timed out. (connect timeout=1)",
        "HTTPStatusError: 500 Internal Server Error",
    ],
)
def test_an_answer_or_an_unsent_call_leaves_no_unknown_outcome(error: str) -> None:
    assert not is_open(error)


@pytest.mark.parametrize(
    ("answer", "left_open"),
    [
        ("@http.response.status_code=504", True),
        ("@http.response.status_code=502", True),
        ("@http.status_code=408", True),
        ("@http.response.status_code=500", False),
        ("@http.response.status_code=409", False),
        ("@rpc.grpc.status_code=4", True),
        ("@rpc.grpc.status_code=14", True),
        ("@rpc.grpc.status_code=9", False),
    ],
)
def test_status_codes_of_gateways_and_deadlines_leave_the_outcome_unknown(answer: str, left_open: bool) -> None:
    assert is_open("HTTPError: no", answer) is left_open
