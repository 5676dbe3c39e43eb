"""Hostile bytes: the whole corpus and some hundreds of bent ones, the same in every run; `make fuzz` takes its time.

Each is thrown at the parts behind the ports, then at a real collector, which must go on to answer others.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from support.bending import TOKENS, bent
from support.collector import RunningCollector, running_collector
from support.fuzzing import CORPUS, TARGETS, close, corpus
from support.otlp import of_saga, span, traces

EXAMPLES = 25
PATHS = {"traces": "/v1/traces", "logs": "/v1/logs"}
TYPES = {"protobuf": "application/x-protobuf", "json": "application/json"}
REQUESTS = [name for name in TARGETS if name.rpartition("_")[0] in PATHS]
ALL_INPUTS = [(name, path) for name in TARGETS for path in corpus(name)]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    close()


def test_every_target_has_a_corpus_and_the_other_way_round() -> None:
    assert {each.name for each in CORPUS.iterdir()} == {*TARGETS, "api"}


@pytest.mark.parametrize(("name", "path"), ALL_INPUTS, ids=[f"{name}-{path.stem}" for name, path in ALL_INPUTS])
def test_the_corpus_does_no_harm(name: str, path: Path) -> None:
    TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_what_is_bent_does_no_harm(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(bent([each.read_bytes() for each in corpus(name)])))


# --- through the public API ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector(None, "--max-request-bytes", str(2**20)) as running:
        yield running
        assert len(running.logged().splitlines()) == 4, running.logged()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as opened:
        yield opened


@pytest.mark.parametrize("name", REQUESTS)
def test_bent_requests_are_answered_and_so_are_others(
    name: str, collector: RunningCollector, client: httpx.Client
) -> None:
    signal, _, form = name.partition("_")
    url, headers = collector.otlp_http + PATHS[signal], {"content-type": TYPES[form]}
    chance = random.Random(name)
    for path in corpus(name):
        for body in (path.read_bytes(), *(twisted(path.read_bytes(), chance) for _ in range(8))):
            answer = client.post(url, content=body, headers=headers)
            assert answer.status_code in {200, 400}, (answer.status_code, body)
    good = traces(span(7, trace=7, attributes=of_saga("good"))).SerializeToString()
    url = f"{collector.otlp_http}/v1/traces"
    assert client.post(url, content=good, headers={"content-type": TYPES["protobuf"]}).status_code == 200


def test_what_was_accepted_can_be_returned_in_full(collector: RunningCollector, client: httpx.Client) -> None:
    for item in client.get(f"{collector.api}/api/v1/sagas", params={"limit": 500}).json()["items"]:
        asked = {name: item[name] for name in ("id", "name", "environment", "run")}
        answer = client.get(f"{collector.api}/api/v1/saga", params=asked)
        assert answer.status_code in ({200, 404, 422} if not item["id"] or not item["name"] else {200}), answer.text


def test_bent_questions_are_answered(collector: RunningCollector, client: httpx.Client) -> None:
    chance = random.Random(8492)
    for path in corpus("api"):
        for body in (path.read_bytes(), *(twisted(path.read_bytes(), chance) for _ in range(25))):
            status = asked(client, collector.api, path.read_bytes().partition(b" ")[0].decode(), body)
            assert status in {200, 400, 401, 404, 405, 409, 422}, (status, body)
    assert client.get(f"{collector.api}/healthz").status_code == 200


def asked(client: httpx.Client, api: str, method: str, body: bytes) -> int:
    """The answer to ``METHOD PATH?QUERY BODY``; what no URL may hold is escaped, so that it arrives."""
    place, _, content = body.partition(b" ")[2].partition(b" ")
    target = quote(b"/" + place.lstrip(b"/"), safe="/?&=%+:@!$'()*,;~")
    host = urlsplit(api)
    url = httpx.URL(scheme="http", host=host.hostname, port=host.port, raw_path=target.encode())
    return client.request(method, url, content=content, headers={"content-type": "application/json"}).status_code


def twisted(body: bytes, chance: random.Random) -> bytes:
    """The body with up to four places cut, doubled or overwritten."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randint(0, len(changed)), chance.choice([0, 1, 4, 40])
        changed[at : at + size] = chance.choice([*TOKENS, bytes(changed[at // 2 : at // 2 + 30]), chance.randbytes(3)])
    return bytes(changed)
