"""`serve --keep` on a running collector: what is over is gone from lists, searches and disk, and said to be expired."""

from pathlib import Path

import httpx
import pytest

from support import preloaded
from support.collector import running_collector, serve_command
from support.otlp import NOON, SECOND, of_saga, span, traces
from support.payments import send
from support.samples import wait_until


def saga(number: int, *, end: int) -> object:
    id_ = f"old-{number}"
    root = span(1, trace=number, start=NOON, end=end, attributes=of_saga(id_) | {"saga.role": "saga"})
    return traces(root)


def test_a_payment_that_is_over_expires_and_one_that_is_stuck_stays(tmp_path: Path) -> None:
    with (
        running_collector(tmp_path) as collector,
        httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as api,
    ):
        send(collector, saga(1, end=NOON + SECOND), saga(2, end=0))
        wait_until(lambda: len(api.get("/api/v1/sagas").json()["items"]) == 2, "the two were never listed")
        assert [each["saga"]["id"] for each in found(api, "old-1")["matches"]] == ["old-1"]
    with (
        running_collector(tmp_path, "--keep", "1d", "--keep-size", "10TB") as collector,
        httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as api,
    ):
        wait_until(lambda: found(api, "old-1")["reason"] == "expired", "it did not expire")
        assert found(api, "old-1")["matches"] == []
        assert found(api, "#old-1")["reason"] == "expired"
        assert found(api, "old-3")["reason"] == "never_seen"
        assert [each["saga"]["id"] for each in found(api, "old-2")["matches"]] == ["old-2"]
        assert [each["id"] for each in api.get("/api/v1/sagas").json()["items"]] == ["old-2"]
        gone = api.get("/api/v1/sagas/payment/old-1")
        assert (gone.status_code, "retention period" in gone.text) == (404, True)


def found(api: httpx.Client, text: str) -> dict[str, object]:
    answer: dict[str, object] = api.get("/api/v1/search", params={"q": text}).json()
    return answer


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--keep", "soon", "for example 90s, 5m or 30d"),
        ("--keep", "0d", "must be greater than zero"),
        ("--keep", "-1d", "for example 90s, 5m or 30d"),
        ("--keep-size", "200 apples", "for example 200GB"),
    ],
)
def test_what_cannot_be_read_is_refused_at_the_start(tmp_path: Path, option: str, value: str, told: str) -> None:
    command = serve_command(tmp_path / "x.duckdb", f"{option}={value}")
    refused = preloaded.run(*command[2:])
    assert refused.returncode == 2
    assert value in refused.stderr
    assert told in refused.stderr
    assert not list(tmp_path.iterdir())
