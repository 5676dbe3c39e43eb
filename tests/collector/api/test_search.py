"""Finding a saga by an id or a key."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sagascope_collector.analysis import Context
from sagascope_collector.api import lookup, present
from sagascope_collector.api.parameters import SagasQuery
from sagascope_collector.client import Client, Refused, SagaFilters
from sagascope_collector.client.schemas import Sagas, SearchResult
from sagascope_collector.engines.mapping import read_mapping
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import Projection
from sagascope_collector.storage import Storage
from support.collector import running_collector
from support.command import run
from support.otlp import SECOND, of_saga, span, traces
from support.payments import ODD, send, soon

LONE = f"{0xABCDEF << 64:032x}"


def found(client: Client, q: str) -> list[tuple[str, str, str]]:
    return [(each.kind, each.saga.name, each.saga.id) for each in client.search(q).matches]


@pytest.mark.parametrize(
    "quoted",
    ["8492", "#8492", " 8492 ", '"8492"', "(8492)", "8492.", "<8492>?", "transaction 8492", "payment #8492 is stuck!"],
)
def test_an_id_is_found_however_it_is_pasted(client: Client, quoted: str) -> None:
    matches = found(client, quoted)
    assert matches[0] == ("id", "payment", "8492")
    assert client.search(quoted).reason is None


def test_an_id_of_odd_characters_is_found_as_it_is(client: Client) -> None:
    assert found(client, ODD) == [("id", "odd/name", ODD)]


def test_a_beginning_finds_all_that_begin_so(client: Client) -> None:
    assert {match for match in found(client, "849") if match[0] == "prefix"} == {
        ("prefix", "payment", "8492"), ("prefix", "payment", "84920"), ("prefix", "payment", "8493"),
    }  # fmt: skip


def test_wildcards_are_taken_as_they_are(client: Client) -> None:
    for each in ("%", "_", "84%", "8_92"):
        assert found(client, each) == []


def test_a_business_key_finds_its_saga(client: Client) -> None:
    assert found(client, "ord-77") == [("key", "payment", "8492")]
    assert found(client, "#ord-77,") == [("key", "payment", "8492")]


def test_a_trace_and_a_span_find_their_saga(client: Client) -> None:
    told = client.saga("payment", "8492")
    trace, span = told.traces[0], told.steps[0].attempts[0].span_id
    assert found(client, trace) == [("trace", "payment", "8492")]
    assert found(client, trace.upper()) == [("trace", "payment", "8492")]
    assert found(client, f"00-{trace}-{span}-01") == [("trace", "payment", "8492")]
    assert found(client, span) == [("span", "payment", "8492")]


def test_all_sagas_of_an_id_are_found(client: Client) -> None:
    assert sorted(found(client, "77")) == [("id", "payment", "77"), ("id", "payment", "77"), ("id", "refund", "77")]
    assert {each.saga.run for each in client.search("500").matches if each.kind == "id"} == {"r1", "r2"}


def test_a_word_of_a_sentence_must_be_the_whole_id(client: Client) -> None:
    assert found(client, "it stands since 8 o'clock") == []


def test_the_prefix_of_a_business_key_finds_its_saga(client: Client) -> None:
    assert found(client, "ord-7") == [("key_prefix", "payment", "8492")]


@pytest.mark.parametrize(
    ("words", "saga"),
    [("refused", ("late", "late.1")), ("REFUSED", ("late", "late.1")), ('no "rooms" left', ("refund", "77"))],
)
def test_words_of_an_error_or_a_log_line_find_their_saga(client: Client, words: str, saga: tuple[str, str]) -> None:
    result = client.search(words)
    assert ("error", *saga) in [(each.kind, each.saga.name, each.saga.id) for each in result.matches]
    assert result.words_since is None  # everything was searched


@pytest.mark.parametrize("text", ["exception.message", "sagascope.span.start", str(time.time_ns())[:4]])
def test_what_only_the_stored_form_of_a_record_contains_is_not_found(client: Client, text: str) -> None:
    assert client.search(text).reason == "never_seen"


def test_a_value_that_is_no_id_comes_with_no_rule(client: Client) -> None:
    assert client.search("GET").unassigned is None


def test_words_are_searched_in_the_newest_records_when_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "TEXT_SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(lookup, "TEXT_SEARCH_COMMITS", 1)
    storage = Storage()
    for number, at in ((1, 1_000), (2, 2_000)):
        refused = span(number, attributes=of_saga(f"late-{number}", role="step", step_name="pay"), error="refused")
        request = traces(refused).SerializeToString()
        storage.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, request, at * SECOND)]).batch)
    projection = Projection(
        storage, summarise=present.summary, context=Context, clock=lambda: 3_000 * SECOND, quiet=0.0
    )
    while projection.advance():
        pass
    answer = lookup.Lookup(storage, Context, lambda: 3_000 * SECOND).search("refused")
    result = SearchResult.model_validate_json(answer)
    assert [each.saga.id for each in result.matches] == ["late-2"]
    assert result.words_since == datetime(1970, 1, 1, 0, 33, 20, tzinfo=UTC)
    listed = lookup.Lookup(storage, Context, lambda: 3_000 * SECOND).page(SagasQuery(q="refused"))
    assert Sagas.model_validate_json(listed).words_since == result.words_since


def test_a_list_names_its_limit_where_too_many_sagas_have_the_words(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector, Client(collector.api) as client:
        spans = [
            span(number, trace=number, attributes=of_saga(f"many-{number}", role="step", step_name="pay"), error="away")
            for number in range(1, lookup.MAX_TEXT_MATCHES + 2)
        ]
        send(collector, traces(*spans))
        soon(lambda: client.counts().total == len(spans))
        few, many = client.sagas(SagaFilters(q="many-1")), client.sagas(SagaFilters(q="away"))
        assert (few.words_limit, many.words_limit) == (None, lookup.MAX_TEXT_MATCHES)
        assert client.counts(SagaFilters(q="away")).total == lookup.MAX_TEXT_MATCHES
        assert client.search("away").truncated
        assert len(client.search("away").matches) == lookup.MAX_MATCHES
        assert not client.search("many-999").truncated
        told = "More than 1,000 transactions have these words; only the latest 1,000 were considered.\n"
        assert run("triage", "--q", "away", url=collector.api).stderr == told
        assert run("triage", "--q", "many-1", url=collector.api).stderr == ""
        assert run("find", "away", url=collector.api).stderr == "Only the first 50 matches are shown.\n"


def test_an_empty_result_gives_the_reason(client: Client) -> None:
    assert client.search("999999").reason == "never_seen"
    assert client.search(LONE).reason == "not_a_saga"
    assert client.search("f" * 32).reason == "never_seen"


def test_a_value_of_spans_without_a_saga_comes_with_the_rule_that_takes_them(client: Client, tmp_path: Path) -> None:
    result = client.search("lone-77")
    assert result.reason == "not_a_saga"
    assert result.unassigned is not None
    assert (result.unassigned.spans, result.unassigned.attribute) == (1, "app.order.id")
    (tmp_path / "mapping.yaml").write_text(result.unassigned.rule)
    assert read_mapping(tmp_path / "mapping.yaml") is not None


def test_an_empty_question_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="'q'"):
        client.search("")


@pytest.mark.parametrize(
    "quoted",
    [
        "8492",
        "8492.",
        "849",
        "ord-7",
        "refused",
        "payment #8492 is stuck!",
        "ord-77",
        ODD,
        "https://example.com/saga?id=8493",
    ],
)
def test_a_list_finds_what_a_search_finds(client: Client, quoted: str) -> None:
    searched = {(each.saga.name, each.saga.id) for each in client.search(quoted).matches}
    listed = {(each.name, each.id) for each in client.sagas(SagaFilters(q=quoted)).items}
    assert searched
    assert searched <= listed


def test_a_list_finds_a_trace_and_a_span(client: Client) -> None:
    told = client.saga("payment", "8492")
    trace, span = told.traces[0], told.steps[0].attempts[0].span_id
    for quoted in (trace, trace.upper(), span, f"00-{trace}-{span}-01"):
        assert [each.id for each in client.sagas(SagaFilters(q=quoted)).items] == ["8492"]
        assert client.sagas(SagaFilters(q=quoted, status="completed")).items == []
    assert client.sagas(SagaFilters(q=LONE)).items == []
