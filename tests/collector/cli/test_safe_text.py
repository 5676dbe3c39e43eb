"""Escaping of telemetry, and formatting of durations."""

import unicodedata

from hypothesis import given, strategies as st

from sagascope_collector import safe_text
from sagascope_collector.durations import format_duration


@given(st.text())
def test_no_control_or_direction_character_passes(text: str) -> None:
    shown = safe_text.line(text)
    assert not [letter for letter in shown if unicodedata.category(letter) in {"Cc", "Cs"}]
    assert not [
        letter
        for letter in shown
        if unicodedata.bidirectional(letter) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    ]


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert safe_text.line(text) == text


def test_lines_keep_their_breaks() -> None:
    assert safe_text.lines("a\r\nb\x1b[2Jc") == "a\nb\\x1b[2Jc"
    assert safe_text.line("a\nb\tc") == "a ⏎ b c"


def test_durations_have_at_most_two_units() -> None:
    seconds = [0, 0.08, 0.9996, 3.44, 59.94, 59.96, 90, 599, 601, 3_599, 7_500, 100_000, -3]
    assert [format_duration(each) for each in seconds] == [
        "0 ms", "80 ms", "1 s", "3.4 s", "59.9 s", "1 min", "1 min 30 s", "9 min 59 s", "10 min", "1 h", "2 h 5 min",
        "1 d 3 h", "-3 s",
    ]  # fmt: skip
