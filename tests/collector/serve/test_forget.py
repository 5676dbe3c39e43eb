"""`sagascope forget`, of a collector at work and of a database at rest."""

import json
from pathlib import Path

import httpx

from sagascope_collector.client import Client
from support.collector import running_collector
from support.command import run
from support.payments import STUCK, saga, send, soon

CUSTOMER = "customer=Lovelace-4711"


def held(db: Path) -> list[str]:
    return [each.name for each in db.parent.glob(f"{db.name}*") if b"Lovelace-4711" in each.read_bytes()]


def test_a_customer_is_forgotten_while_the_collector_runs(tmp_path: Path) -> None:
    named = {"saga.key.customer": "Lovelace-4711"}
    with running_collector(tmp_path) as collector:
        send(collector, *saga("1", STUCK, ago=400, root=named), *saga("2", ago=300, root=named), *saga("3", ago=200))
        assert run("backup", str(tmp_path / "copy.duckdb"), url=collector.api).returncode == 0
        with Client(collector.api) as client:
            soon(lambda: len(client.incidents("open").items) == 1)
            assert held(collector.db)
            told = run("forget", "--key", CUSTOMER, url=collector.api)
            assert told.returncode == 0, told.stderr
            assert "2 transactions would be removed. Nothing was" in told.stdout
            assert len(client.sagas().items) == 3
            told = run("forget", "--key", CUSTOMER, "--yes", "--json", url=collector.api)
            assert told.returncode == 0, told.stderr
            answer = json.loads(told.stdout)
            assert {each["id"] for each in answer["items"]} == {"1", "2"}
            assert answer["backups"] == [str(tmp_path / "copy.duckdb")]
            assert answer["records"] > 5
            assert held(collector.db) == []
            assert [each.id for each in client.sagas().items] == ["3"]
            soon(lambda: all(not each.count for each in client.incidents().items))
            assert all(each.error_sample is None and not each.examples for each in client.incidents().items)
            assert client.search("1").reason == "never_seen"
            assert run("forget", "--key", "customer", url=collector.api).returncode == 2


def test_a_customer_is_forgotten_in_a_database_at_rest(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        send(collector, *saga("1", root={"saga.key.customer": "Lovelace-4711"}), *saga("2"))
        collector.stop()
    db = str(collector.db)
    assert "One transaction would be removed" in run("forget", "--key", CUSTOMER, "--db", db).stdout
    told = run("forget", "--key", CUSTOMER, "--db", db, "--yes")
    assert told.returncode == 0, told.stderr
    assert held(collector.db) == []


def test_forgetting_needs_the_token_for_changing(tmp_path: Path) -> None:
    tokens = {"SAGASCOPE_CHANGE_TOKEN": "change" * 4, "SAGASCOPE_READ_TOKEN": "reader" * 4}
    with (
        running_collector(tmp_path, environment=tokens) as collector,
        httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as http,
    ):
        body = {"key": "customer", "value": "x"}
        read = {"Authorization": f"Bearer {'reader' * 4}"}
        assert http.post("/api/v1/forget", json=body, headers=read).status_code == 401
        assert http.get("/api/v1/forget", params=body, headers=read).json()["sagas"] == 0
        change = {"Authorization": f"Bearer {'change' * 4}"}
        assert http.post("/api/v1/forget", json=body, headers=change).json()["records"] == 0
        for odd in ('{"key": "a", "value": "\\ud800"}', '{"key": "a", "value": ""}', "[]", "{", ""):
            refused = http.post("/api/v1/forget", content=odd, headers=change | {"Content-Type": "application/json"})
            assert refused.status_code == 422, refused.text
        for odd in ("\x00", "'; DROP TABLE sagas", "%", "\U0001f600"):
            assert http.post("/api/v1/forget", json={"key": odd, "value": odd}, headers=change).json()["sagas"] == 0
        assert http.post("/api/v1/forget", json=body | {"all": True}, headers=change).status_code == 422
