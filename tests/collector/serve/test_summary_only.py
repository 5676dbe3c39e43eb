"""`sagascope serve --summary-only-after`: pages, command and API say that only the summary was kept."""

from pathlib import Path

import pytest

from sagascope_collector.client import Client, NotFound
from support.collector import running_collector
from support.command import run
from support.payments import STUCK, saga, send, soon

LONG_AGO = 86_400


def test_a_saga_with_only_its_summary_is_marked(tmp_path: Path) -> None:
    done = {"saga.outcome": "completed", "saga.key.order": "ord-77"}
    with running_collector(tmp_path) as collector, Client(collector.api) as client:
        send(collector, *saga("1", root=done, ago=LONG_AGO), *saga("2", STUCK, ago=LONG_AGO), *saga("3", root=done))
        soon(lambda: len([each for each in client.sagas().items if each.ended_at]) == 2)
        (before,) = [each for each in client.sagas().items if each.id == "1"]
    with running_collector(tmp_path, "--summary-only-after", "6h") as collector, Client(collector.api) as client:
        soon(lambda: client.saga("payment", "1").shrunk)
        after = client.saga("payment", "1")
        assert after.model_dump(include=set(type(before).model_fields)) == before.model_dump()
        assert (after.spans, after.logs, after.steps, after.verdict) == ([], [], [], None)
        assert not client.saga("payment", "2").shrunk
        assert client.saga("payment", "3").spans
        assert [each.saga.id for each in client.search("ord-77").matches].count("1") == 1
        told = run("show", "1", url=collector.api).stdout
        assert "Summary only: the records of this completed transaction were deleted." in " ".join(told.split())
        with pytest.raises(NotFound, match="only the summary was kept"):
            b"".join(client.export("payment", "1"))
