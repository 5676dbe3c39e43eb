"""Which digits are a card number, and which only look like one."""

import pytest
from hypothesis import given, strategies as st

from sagascope_collector.scrubbing import cards

KNOWN = {
    "4111111111111111": "Visa",
    "4222222222222": "Visa of 13 digits",
    "4000000000000000006": "Visa of 19 digits",
    "5555555555554444": "Mastercard",
    "2223003122003222": "Mastercard of the newer range",
    "378282246310005": "American Express",
    "30569309025904": "Diners Club",
    "6011111111111117": "Discover",
    "3530111333300000": "JCB",
    "6200000000000005": "UnionPay",
    "6759649826438453": "Maestro",
    "2201382000000013": "Mir",
}
"""Numbers that issuers and payment providers give out for tests."""


def found(text: str) -> list[str]:
    return [text[each.start : each.end] for each in cards.Finder().find(text)]


@pytest.mark.parametrize("number", KNOWN, ids=KNOWN.values())
def test_the_known_numbers_are_found_in_any_writing(number: str) -> None:
    for separator in (" ", "-", "+", "%20", "\u00a0", ""):
        written = separator.join(number[place : place + 4] for place in range(0, len(number), 4))
        for text in (written, f"card {written}, thanks", f"12 {written}", f"pan={written}|", f"x{written}y"):
            assert found(text) == [written], text


SEPARATORS = (
    "\u00a0", "\u2009", "\u2010", "\u2011", "\u2013", "\u2014", "\u202f", "\u2212", "\u3000", "\uff0d", "\n", "\r\n",
    "\t", "%2D", "%2d", "%20", "%C2%A0", "%E2%80%93", "%0A", "&nbsp;", "&#160;", "&#xA0;", "&ndash;", "&thinsp;",
    "\u200b",     "\u00ad", "\u2060", "\ufeff", " \u200b", "\u2009\u2013\u2009",
)  # fmt: skip

FULL_WIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}


@given(
    st.sampled_from(sorted(KNOWN)),
    st.lists(st.sampled_from(SEPARATORS), min_size=7, max_size=7),
    st.booleans(),
    st.sampled_from(["", "card ", "é", "12 ", "pan=", "\u200b"]),
    st.sampled_from(["", ", thanks", " ü", "&amp;x", "\n"]),
)
def test_numbers_are_found_with_any_separators_and_digits(
    number: str, separators: list[str], full_width: bool, before: str, after: str
) -> None:
    groups = [number[place : place + 4] for place in range(0, len(number), 4)]
    if len(groups[-1]) < 3:
        groups[-2:] = ["".join(groups[-2:])]
    if full_width:
        groups = [group.translate(FULL_WIDTH) for group in groups]
    written = groups[0] + "".join(sep + group for sep, group in zip(separators, groups[1:], strict=False))
    assert found(before + written + after) == [written]


@pytest.mark.parametrize("invisible", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad"])
def test_invisible_characters_between_any_two_digits_hide_nothing(invisible: str) -> None:
    written = invisible.join("4111111111111111")
    assert found(f"card {written}.") == [written]


@pytest.mark.parametrize(
    "text",
    [
        "1790000000000000004",  # nanoseconds since 1970
        "2241111111111111118",  # nanoseconds in 2041
        "1790000000000002",  # microseconds
        "2223003122003",  # milliseconds in 2040
        "4111111111111112",  # one digit wrong
        "9111111111111113",  # no issuer's
        "41111111111111110",  # one digit more
        "411111111111",  # too short
        "11114111111111111111",  # in the middle of a longer number
        "4111 1111 1111 111",
        "4111, 1111, 1111, 1111",
        "41 11 11 11 11 11 11 11",  # a list of small numbers
        "4111111111111111a0b1c2d3e4f5a6b7",  # a trace id
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "41111111-1111-1111-a456-426614174000",
        "2026-11-23 14:02:10.123456789",
        "+49 30 901820 4711 22",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert not found(text)


def test_several_in_one_text_are_all_found() -> None:
    assert found("4111 1111 1111 1111 5555-5555-5555-4444 378282246310005") == [
        "4111 1111 1111 1111",
        "5555-5555-5555-4444",
        "378282246310005",
    ]


def test_what_stands_before_and_after_does_not_hide_one() -> None:
    assert found("order 8492 2026-11-23 4111111111111111 123") == ["4111111111111111"]
    assert found("valid thru 4111111111111111-1225") == ["4111111111111111"]


@given(st.text(alphabet="0123456789 -", max_size=300))
def test_what_is_found_is_in_order_apart_and_right(text: str) -> None:
    before = 0
    for card in cards.Finder().find(text):
        assert before <= card.start < card.end
        assert "".join(filter(str.isdigit, text[card.start : card.end])) == card.digits
        assert cards.is_card(card.digits)
        before = card.end


def test_a_request_of_nothing_but_digits_takes_bounded_work_and_keeps_nothing() -> None:
    finder = cards.Finder(max_group_characters=1_000)
    assert len(list(finder.find("4111-1111-1111-1111 " * 49))) == 49
    text = "4111 " * 400_000
    assert [(each.start, each.end) for each in finder.find(text)] == [(0, len(text) - 1)]
    assert not list(finder.find("4" * 500_000))
