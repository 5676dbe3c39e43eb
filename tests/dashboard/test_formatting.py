import unicodedata
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import (
    MAX_LINE_CHARACTERS,
    amount,
    block,
    duration,
    epoch_ms,
    iso,
    line,
    local_sentence,
    plural,
)
from support.wires import START, at

HOSTILE = [
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("exe\u202etxt.\u202c", r"exe\u202etxt.\u202c"),
    ("a\x00b", r"a\x00b"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("half\ud83d", r"half\ud83d"),
    ("two\nlines\tand  spaces", "two lines and spaces"),
    ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
]


@pytest.mark.parametrize(("received", "shown"), HOSTILE)
def test_nothing_received_can_steer_what_it_is_shown_in(received: str, shown: str) -> None:
    assert line(received) == shown


def test_a_value_that_is_too_long_is_cut_visibly() -> None:
    assert line("x" * 1_000_000) == "x" * MAX_LINE_CHARACTERS + "… (999,700 more characters)"


def test_text_that_looks_cut_is_cut_all_the_same() -> None:
    assert line("y" * 500 + "… (9 more characters)", 20).startswith("y" * 20 + "…")


def test_a_block_keeps_its_lines() -> None:
    assert block("Traceback\r\n  File\tx\n") == "Traceback\n  File\tx\n"


@pytest.mark.parametrize(("value", "shown"), [(None, ""), ({"a": [1, None]}, '{"a": [1, null]}'), (True, "true")])
def test_values_that_are_no_text_become_json(value: object, shown: str) -> None:
    assert line(value) == shown


@given(st.text(max_size=2000), st.integers(10, 400))
def test_any_text_can_be_shown(text: str, limit: int) -> None:
    shown = line(text, limit)
    assert not any(unicodedata.category(style) in {"Cc", "Cs", "Zl", "Zp"} for style in shown)
    assert len(shown) <= limit + 40
    shown.encode()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (1e-9, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.24, "240 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (2.44, "2.4 s"),
        (3, "3 s"),
        (59.7, "1 min"),
        (64, "1 min 4 s"),
        (734, "12 min"),
        (3600, "1 h"),
        (11_400, "3 h 10 min"),
        (266_500, "3 days 2 h"),
        (86_400, "1 day"),
        (-2, "-2 s"),
    ],
)
def test_a_duration_is_formatted_in_two_units_at_most(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "currency", "said"),
    [
        ("50.00", "EUR", "€50.00"),
        ("1250.5", "USD", "$1,250.5"),
        ("-3", "EUR", "-€3"),
        ("12", "XAU", "12 XAU"),
        ("a lot", "EUR", "€a lot"),
        (None, "EUR", ""),
        ("7", None, "7"),
        ("1E+3", "EUR", "€1,000"),
    ],
)
def test_an_amount_is_written_as_on_a_bill(value: str | None, currency: str | None, said: str) -> None:
    assert amount(value, currency) == said


def test_moments_reach_the_browser_without_loss() -> None:
    assert iso(START) == "2026-11-22T14:02:10.000Z"
    assert epoch_ms(at(0.000_001)) - epoch_ms(START) == pytest.approx(0.001, abs=2e-4)


def test_a_count_agrees_with_its_noun() -> None:
    assert [plural(n, "saga") for n in (0, 1, 2000)] == ["0 sagas", "1 saga", "2,000 sagas"]


BERLIN = datetime(2026, 11, 22, 16, 0, tzinfo=ZoneInfo("Europe/Berlin"))


def test_a_sentence_shows_its_times_in_the_readers_zone() -> None:
    parts: schemas.Parts = [
        schemas.TextPart(text="Stuck since "),
        schemas.TimePart(time=datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)),
        schemas.TextPart(text=", \x1b since "),
        schemas.TimePart(time=datetime(2026, 11, 21, 23, 30, tzinfo=UTC)),
        schemas.TextPart(text="."),
    ]
    told = "Stuck since 14:02:11Z ..."
    assert local_sentence(told, parts, BERLIN) == "Stuck since 15:02:11, \\x1b since 00:30:00."
    in_utc = local_sentence(told, parts, BERLIN.astimezone(UTC))
    assert in_utc == "Stuck since 14:02:11, \\x1b since 21 Nov 2026, 23:30:00."


def test_a_sentence_is_cut_visibly() -> None:
    shown = local_sentence("x" * 500, [schemas.TextPart(text="x" * 500)], BERLIN, 100)
    assert shown == f"{'x' * 100}… (400 more characters)"
    assert local_sentence("plain", [], BERLIN) == "plain"
