"""Finding a saga by an id or a key."""

import pytest

from sagascope_collector.client import Client, Refused
from support.payments import ODD

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


def test_an_empty_result_gives_the_reason(client: Client) -> None:
    assert client.search("999999").reason == "never_seen"
    assert client.search(LONE).reason == "not_a_saga"
    assert client.search("f" * 32).reason == "never_seen"


def test_an_empty_question_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="'q'"):
        client.search("")
