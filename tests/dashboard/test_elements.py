import pytest

from sagascope_collector import client
from sagascope_collector.client import schemas
from sagascope_dashboard.components.elements import _NOTICES, badge, error_notice, h, link, time
from sagascope_dashboard.formatting import ATTENTION, STATUS
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


URL = "http://127.0.0.1:4319"
PROBLEM = schemas.Problem(
    type="about:blank", title="Not found", status=404, detail="No saga payment 1 was ever received."
)


@pytest.mark.parametrize(
    ("error", "title", "is_retryable"),
    [
        (client.CollectorUnreachable(URL, "nobody there"), "The collector does not answer", True),
        (client.Timeout(URL, "5 s"), "The collector is slow to answer", True),
        (client.Unavailable(URL, "busy"), "The collector cannot answer now", True),
        (client.NotSagascope(URL, "a teapot"), "This is not a Sagascope collector", True),
        (client.NotFound(URL, PROBLEM), "No such transaction", True),
        (client.TokenNeeded(URL, PROBLEM), "The collector asks for a token", True),
        (client.CredentialsUnusable(URL, "no file"), "The token or the certificate cannot be read", True),
        (client.Untrusted(URL, "self-signed"), "The collector is not trusted", True),
        (client.Refused(URL, PROBLEM), "The collector refused the call", False),
        (client.ClientError(URL, "something new"), "No answer", True),
    ],
)
def test_every_client_error_has_its_own_notice(error: client.ClientError, title: str, is_retryable: bool) -> None:
    said = error_notice(error)
    assert (said.title, said.is_retryable) == (title, is_retryable)
    assert said.text == str(error)


def test_every_error_of_the_client_is_known_by_its_own_kind() -> None:
    kinds = {kind for kind in vars(client).values() if isinstance(kind, type) and issubclass(kind, client.ClientError)}
    assert kinds == set(_NOTICES)
