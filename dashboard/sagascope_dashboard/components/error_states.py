"""The states of a screen without an answer, or without a fresh one."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from sagascope_collector.client import (
    ClientError,
    CollectorUnreachable,
    CredentialsUnusable,
    NotFound,
    NotSagascope,
    Refused,
    Timeout,
    TokenNeeded,
    Unavailable,
    Untrusted,
)
from sagascope_dashboard.components.elements import h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.data import Reading
from sagascope_dashboard.formatting import line


@dataclass(frozen=True, slots=True)
class ErrorNotice:
    """Why there is nothing, or nothing fresh, to show, and what the reader can do."""

    title: str
    text: str
    hint: str
    passing: bool
    """Whether the same call may succeed later; the screen then keeps trying."""


_KINDS: dict[type[ClientError], tuple[str, str, bool]] = {
    CollectorUnreachable: ("The collector does not answer", "Start it with: sagascope serve", True),
    Untrusted: (
        "The collector is not trusted",
        "Start the dashboard with --ca-file, and with --client-cert and --client-key where it wants to see yours.",
        True,
    ),
    TokenNeeded: (
        "The collector asks for a token",
        "Start the dashboard with --token-file or SAGASCOPE_TOKEN: the token that readers need.",
        True,
    ),
    CredentialsUnusable: (
        "The token or the certificate cannot be read",
        "The dashboard was started with it; once the file is right this page goes on.",
        True,
    ),
    Timeout: ("The collector is slow to answer", "It took the call; the next try may succeed.", True),
    Unavailable: ("The collector cannot answer now", "It says so itself; the next try may succeed.", True),
    NotSagascope: (
        "This is not a Sagascope collector",
        "The dashboard reads the address in SAGASCOPE_URL; both must be of the same version.",
        True,
    ),
    NotFound: ("No such {thing}", "It may not have been received yet, or the address may be mistyped.", True),
    Refused: ("The collector refused the call", "Something in the address of this page cannot be meant.", False),
}


def error_notice(error: ClientError, thing: str = "transaction") -> ErrorNotice:
    """Returns the notice for an error when a `thing` was read. The most specific known class decides."""
    for kind in type(error).__mro__:
        if kind in _KINDS:
            title, hint, passing = _KINDS[kind]
            return ErrorNotice(title.format(thing=thing), line(str(error)), hint, passing)
    return ErrorNotice("No answer", line(str(error)), "The next try may succeed.", True)


def none_to_show(key: str, reading: Reading[Any], thing: str = "transaction") -> None:
    """Instead of a screen: nothing is known of what it would show."""
    if reading.trouble is None:
        return
    notice = error_notice(reading.trouble, thing)
    render(
        key,
        h(
            "section",
            h("h1", notice.title),
            h("p", notice.text),
            h("p", notice.hint, cls="hint"),
            h("p", "This page keeps trying and goes on by itself.", cls="soft") if notice.passing else None,
            cls="trouble",
            role="status",
        ),
    )
    st.button("Try now", key=f"{key}-retry")


def outdated(key: str, *readings: Reading[Any]) -> None:
    """Above a screen: what it shows is the last that was known."""
    late = next((reading for reading in readings if reading.trouble and reading.value is not None), None)
    if late is None or late.trouble is None:
        render(key)
        return
    words = (error_notice(late.trouble).title, ". What you see is from ", time(late.at), "; it goes on by itself.")
    render(key, h("p", icon("mark"), h("span", *words), cls="notice", role="status"))


def broken() -> None:
    """Instead of a screen: the dashboard itself failed."""
    render(
        "broken",
        h(
            "section",
            h("h1", "This screen could not be drawn"),
            h(
                "p",
                "The fault is the dashboard's own; what happened is in its log. Your transactions are not affected.",
            ),
            h("p", link("/", "Back to the start")),
            cls="trouble",
            role="alert",
        ),
    )
