"""Erasure from a lake and from every copy of it, with real processes and a real PostgreSQL."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from sagascope_collector.lake.follower import digest
from sagascope_collector.scrubbing.rules import Pseudonyms
from support.lake import KEY, LakePlace, LakeProcess, needs_extensions, object_store, request, shown_by
from support.otlp import any_value, log, logs, of_saga, span, traces
from support.postgres import Server
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

PERSON = "person-4711"
SAGA = "zz-erased-9"
"""The greatest id of all, so that it is the maximum of a column."""


def of_person(number: int) -> bytes:
    """A step that failed for good, of a person."""
    more = {"saga.key.customer": PERSON, "email": f"{PERSON}@example.com"}
    return request(number, SAGA, **more, **{"saga.role": "step", "saga.step.name": "charge"})


def listed(collector: LakeProcess) -> list[str]:
    answer = httpx.get(f"{collector.api}/api/v1/sagas", trust_env=False, timeout=30)
    return sorted(each["id"] for each in answer.json()["items"])


def forget(collector: LakeProcess, value: str = PERSON) -> dict[str, Any]:
    asked = {"key": "customer", "value": value}
    answer = httpx.post(f"{collector.api}/api/v1/forget", json=asked, trust_env=False, timeout=120)
    assert answer.status_code == httpx.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


def acknowledge(collector: LakeProcess) -> None:
    """Acknowledges the incident of the saga, with a note that names the person."""
    url = f"{collector.api}/api/v1/incidents"
    (incident,) = wait_until(
        lambda: httpx.get(url, trust_env=False, timeout=30).json()["items"], "there is no incident", 60
    )
    body = {"state": "acknowledged", "note": f"called {PERSON}"}
    answer = httpx.patch(f"{url}/{incident['key']}", json=body, trust_env=False, timeout=30)
    assert answer.status_code == httpx.codes.OK, answer.text


def is_in_catalog(lake: LakePlace, *texts: str) -> list[str]:
    """Returns the tables of the catalog that have one of the texts, in a row or in a block of their files."""
    names = [
        name
        for (name,) in lake.catalog("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    ]
    rows = {name: str(lake.catalog(f'SELECT each::text FROM "{name}" AS each')) for name in names}
    found = [name for name, content in rows.items() if any(text in content for text in texts)]
    with lake.server.connect(lake.database) as connection:
        connection.execute("CHECKPOINT")
    for name in names:
        ((file,),) = lake.catalog(f"SELECT pg_relation_filepath('\"{name}\"')")
        block = (lake.server.folder / str(file)).read_bytes()
        found += [f"{name}, on disk" for text in texts if text.encode() in block]
    return found


def are_in_files(lake: LakePlace, *texts: str) -> bool:
    """Returns whether any Parquet file has one of the texts."""
    for path in Path(lake.data).rglob("*.parquet"):
        rows = str(duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall())
        if any(text in rows or text.encode() in path.read_bytes() for text in texts):
            return True
    return False


def test_a_person_is_erased_from_the_lake_and_from_every_copy(lake: LakePlace, tmp_path: Path) -> None:
    line = log(f"order of {PERSON}", attributes=of_saga(SAGA))
    with ExitStack() as stack:
        receiver = stack.enter_context(lake.running("receive", tmp_path / "receiver"))
        one, two = (stack.enter_context(lake.running("serve", tmp_path / name)) for name in ("one", "two"))
        with lake.running("serve", tmp_path / "down") as down:
            assert receiver.send("/v1/traces", of_person(1))
            assert receiver.send("/v1/traces", request(2, "aa-other"))
            assert receiver.send("/v1/logs", logs(line).SerializeToString())
            for each in (one, two, down):
                wait_until(lambda each=each: shown_by(each, SAGA) == [1], "a collector does not follow", 20)
            down.kill()
        assert receiver.send("/v1/traces", of_person(3))  # not copied yet by one of them
        acknowledge(one)
        assert are_in_files(lake, PERSON)
        assert is_in_catalog(lake, PERSON, SAGA)

        answer = forget(one)

        assert (answer["sagas"], answer["records"], answer["items"][0]["id"]) == (1, 3, SAGA)
        assert not are_in_files(lake, PERSON, SAGA)
        assert is_in_catalog(lake, PERSON, SAGA) == []
        assert lake.query("SELECT name FROM spans") == [["span 2"]]
        assert shown_by(one, SAGA) == []
        wait_until(lambda: shown_by(two, SAGA) == [], "the other collector still shows it", 20)
        again = stack.enter_context(lake.running("serve", tmp_path / "down"))
        fresh = stack.enter_context(lake.running("serve", tmp_path / "fresh"))
        for each, folder in ((one, "one"), (two, "two"), (again, "down"), (fresh, "fresh")):
            assert shown_by(each, SAGA) == []
            assert shown_by(each, "aa-other") == [2]
            content = b"".join(path.read_bytes() for path in (tmp_path / folder).glob("sagascope.duckdb*"))
            assert PERSON.encode() not in content
        # what is received later is new, and statistics of the catalog hide no rows
        assert receiver.send("/v1/traces", of_person(4))
        assert receiver.send("/v1/traces", request(5, "aa-other"))
        for each in (one, two, again, fresh):
            wait_until(lambda each=each: shown_by(each, SAGA) == [4], "it is not new", 20)
            wait_until(lambda each=each: shown_by(each, "aa-other") == [2, 5], "a collector does not go on", 20)
        assert sorted(lake.query("SELECT name FROM spans WHERE saga_id = 'aa-other'")) == [["span 2"], ["span 5"]]
        assert lake.query(f"SELECT name FROM spans WHERE saga_id = '{SAGA}'") == [["span 4"]]


def test_what_has_left_the_copies_is_found_and_erased_in_the_lake(lake: LakePlace, tmp_path: Path) -> None:
    person = f'{PERSON} "Zoë" \\'
    steps = [
        span(number, name=f"span {number}", attributes={**of_saga(saga), "saga.role": "saga", "saga.key.customer": key})
        for number, saga, key in ((1, SAGA, person), (2, "aa-other", f"{person} jun."), (3, "aa-number", 4711))
    ]
    with lake.running("receive", tmp_path / "receiver") as receiver:
        for step in steps:
            assert receiver.send("/v1/traces", traces(step).SerializeToString())
        keep = ("--keep", "1s")
        with lake.running("serve", tmp_path / "one", *keep) as one:
            wait_until(lambda: listed(one) == ["aa-number", "aa-other", SAGA], "it does not follow", 30)
        with lake.running("serve", tmp_path / "one", *keep) as one:  # it deletes what is too old when it starts
            wait_until(lambda: listed(one) == [], "the copy keeps them", 60)
            answer = forget(one, person)
            assert (answer["sagas"], answer["records"]) == (1, 1)
            assert forget(one, "4711")["sagas"] == 1
            assert forget(one, person)["sagas"] == 0
        assert lake.query("SELECT saga_id FROM spans") == [["aa-other"]]
        assert not are_in_files(lake, SAGA)
        assert is_in_catalog(lake, SAGA) == []


def test_links_to_an_erased_saga_are_removed_from_other_spans(lake: LakePlace, tmp_path: Path) -> None:
    batch = span(7, name="span 7", attributes=of_saga("aa-batch"))
    link = batch.links.add(trace_id=bytes(16), span_id=bytes(8))
    for key, value in {**of_saga(SAGA), "saga.key.customer": PERSON}.items():
        link.attributes.add(key=key, value=any_value(value))
    with ExitStack() as stack:
        receiver = stack.enter_context(lake.running("receive", tmp_path / "receiver"))
        one, two = (stack.enter_context(lake.running("serve", tmp_path / name)) for name in ("one", "two"))
        assert receiver.send("/v1/traces", of_person(1))
        assert receiver.send("/v1/traces", traces(batch).SerializeToString())
        wait_until(lambda: shown_by(one, SAGA) == [1, 7], "it does not follow", 20)
        forget(one)
        assert not are_in_files(lake, PERSON, SAGA)
        for each in (one, two):
            wait_until(lambda each=each: shown_by(each, SAGA) == [], "it is still shown", 20)
            assert shown_by(each, "aa-batch") == [7]


def test_an_erasure_whose_process_was_killed_is_finished_by_another(lake: LakePlace, tmp_path: Path) -> None:
    secret = Pseudonyms(KEY.encode).of("erasure", "salt")
    with lake.running("receive", tmp_path / "receiver") as receiver, lake.running("serve", tmp_path / "one") as one:
        assert receiver.send("/v1/traces", of_person(1))
        wait_until(lambda: shown_by(one, SAGA) == [1], "it does not follow", 20)
        # as the killed process leaves it after its first step
        with lake.server.connect(lake.database) as connection:
            connection.execute(
                "INSERT INTO sagascope_erasures (request, salt, digests, first_snapshot) "
                "VALUES (%s, 'salt', %s, (SELECT max(snapshot_id) + 1 FROM ducklake_snapshot))",
                [
                    json.dumps({"ids": [["", SAGA]], "texts": [PERSON], "incidents": []}),
                    [digest(secret, "", SAGA), digest(secret, PERSON)],
                ],
            )
        assert receiver.send("/v1/traces", request(2, "aa-other"))
        wait_until(lambda: shown_by(one, SAGA) == [], "it is not finished", 60)
        wait_until(lambda: not is_in_catalog(lake, PERSON, SAGA), "the catalog has it", 30)
        wait_until(lambda: shown_by(one, "aa-other") == [2], "it does not go on", 20)
        assert not are_in_files(lake, PERSON, SAGA)


def test_a_person_is_erased_from_an_object_store(server: Server, tmp_path: Path) -> None:
    with object_store(tmp_path / "store") as store:
        server.create("erased_in_store")
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
        lake = LakePlace(server, "erased_in_store", "s3://lake/records", ("--s3-endpoint", store.endpoint), keys)
        with lake.running("receive", tmp_path / "receiver") as receiver, lake.running("serve", tmp_path / "one") as one:
            for number in range(1, 12):
                assert receiver.send("/v1/traces", of_person(number))
            assert receiver.send("/v1/traces", request(20, "aa-other"))
            assert forget(one)["records"] == 11
            found = lake.query(
                "SELECT saga_id FROM read_parquet('s3://lake/records/**/*.parquet', union_by_name => true)"
            )
            assert found == [["aa-other"]]
            wait_until(lambda: shown_by(one, "aa-other") == [20], "it does not go on", 20)
