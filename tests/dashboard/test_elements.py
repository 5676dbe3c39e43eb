import pytest

from sagascope_dashboard.components.elements import badge, h, link, time
from sagascope_dashboard.palette import ATTENTION, STATUS
from support.wires import START


def test_an_element_is_plain_data() -> None:
    assert h("p", "a", None, [h("b", "c"), None], cls="x", aria_label="y", role=None) == [
        "p",
        {"class": "x", "aria-label": "y"},
        "a",
        ["b", {}, "c"],
    ]


def test_nothing_at_all_is_an_element_without_children() -> None:
    assert h("p", [], None) == ["p", {}]


@pytest.mark.parametrize("href", ["javascript:alert(1)", "https://example.org", "//example.org", "saga", ""])
def test_a_link_leads_only_within_the_dashboard(href: str) -> None:
    with pytest.raises(ValueError, match="not a link"):
        link(href, "x")


def test_a_state_is_never_shown_by_colour_alone() -> None:
    for style in (*STATUS.values(), *ATTENTION.values()):
        shown = str(badge(style))
        assert style.label in shown
        assert style.icon in shown


def test_a_moment_carries_utc() -> None:
    assert time(START, "ago") == [
        "time",
        {"datetime": "2026-11-22T14:02:10.000Z", "data-as": "ago"},
        "2026-11-22T14:02:10.000Z",
    ]
