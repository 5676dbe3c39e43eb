"""What people paste around an id does not matter."""

import pytest
from hypothesis import given, strategies as st

from sagascope_collector.api import lookup

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "pasted",
    [
        "8492", "#8492", " 8492 ", "8492.", "8492?", '"8492"', "'8492'", "`8492`", "(8492)", "[8492]", "<8492>",
        "*8492*", "\u201c8492\u201d", "\u20188492\u2019", "«8492»", "8492,", "#8492:", "\u200b8492\ufeff",
        "\t8492\r\n", '("#8492"!)', "8492…", "\u30008492\x85",
    ],
)  # fmt: skip
def test_one_id_in_its_wrapping(pasted: str) -> None:
    assert lookup.trim(pasted) == "8492"
    assert "8492" in lookup.interpretations(pasted)


@pytest.mark.parametrize(
    "pasted",
    [
        "transaction 8492",
        "transaction 8492?",
        "payment #8492 is stuck!",
        "id=8492",
        "saga.id: 8492",
        "Re: [8492] where is it",
    ],
)
def test_one_id_in_a_sentence(pasted: str) -> None:
    assert lookup.words(pasted)[0] == "8492"


def test_an_id_that_is_written_so_comes_first() -> None:
    assert lookup.interpretations("#8492.")[0] == "#8492."
    assert lookup.interpretations("order  7/b")[0] == "order  7/b"


def test_what_is_nothing_but_wrapping_stays() -> None:
    assert lookup.interpretations("##") == ["##"]
    assert lookup.trim(" \u200b ") == ""
    assert lookup.words("8492") == []


def test_links_and_trace_headers_are_understood() -> None:
    assert "8492" in lookup.interpretations("http://localhost:8501/saga?name=payment&id=8492")
    assert "a/b c" in lookup.interpretations("<https://x.example/saga?id=a%2Fb+c&name=payment>")
    assert TRACE in lookup.interpretations(f"00-{TRACE}-b7ad6b7169203331-01")
    assert lookup.interpretations(TRACE.upper())[-1] == TRACE
    assert lookup.telemetry_ids(f"trace {TRACE}") == []
    assert lookup.telemetry_ids(f'"{TRACE.upper()}"') == [TRACE]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(lookup.interpretations(text))
    assert len(lookup.words(text)) <= lookup.MAX_WORDS
    assert lookup.trim(lookup.trim(text)) == lookup.trim(text)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1), st.sampled_from('#"()[]<>.,;:!?` '))
def test_wrapping_comes_off_whatever_is_in_it(saga_id: str, wrapping: str) -> None:
    assert lookup.trim(f"{wrapping}{saga_id}{wrapping}") == saga_id
