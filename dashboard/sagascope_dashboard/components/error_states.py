"""Screens without data, or without fresh data, and the notices for client errors."""

from dataclasses import dataclass
from typing import Any, TypeVar

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
from sagascope_dashboard.components.elements import h, link, message, notice, render, time
from sagascope_dashboard.data import FetchResult
from sagascope_dashboard.formatting import line


@dataclass(frozen=True, slots=True)
class ErrorNotice:
    """Why there is no data, or no fresh data, and what the reader can do."""

    title: str
    text: str
    hint: str
    is_retryable: bool
    """Whether the same call may succeed later; the screen then keeps trying."""


_NOTICES: dict[type[ClientError], tuple[str, str, bool]] = {
    CollectorUnreachable: ("The collector does not answer", "Start it with: sagascope serve", True),
    Untrusted: (
        "The collector is not trusted",
        "Start the dashboard with --ca-file, and with --client-cert and --client-key if it requires one.",
        True,
    ),
    TokenNeeded: (
        "The collector asks for a token",
        "Start the dashboard with --token-file or SAGASCOPE_TOKEN: the token that readers need.",
        True,
    ),
    CredentialsUnusable: (
        "The token or the certificate cannot be read",
        "The dashboard was started with it; once the file is valid, this page continues.",
        True,
    ),
    Timeout: ("The collector is slow to answer", "It accepted the call; the next attempt may succeed.", True),
    Unavailable: ("The collector cannot answer now", "It reports this itself; the next attempt may succeed.", True),
    NotSagascope: (
        "This is not a Sagascope collector",
        "The dashboard reads the address in SAGASCOPE_URL; both must be of the same version.",
        True,
    ),
    NotFound: ("No such {thing}", "It may not have been received yet, or the address may be mistyped.", True),
    Refused: ("The collector refused the call", "The URL of this page has an invalid value.", False),
}


def error_notice(error: ClientError, thing: str = "transaction") -> ErrorNotice:
    """Returns the notice for an error when a `thing` was read. The most specific known class decides."""
    for kind in type(error).__mro__:
        if kind in _NOTICES:
            title, hint, is_retryable = _NOTICES[kind]
            return ErrorNotice(title.format(thing=thing), line(str(error)), hint, is_retryable)
    return ErrorNotice("No answer", line(str(error)), "The next attempt may succeed.", True)


T = TypeVar("T")


def current(key: str, result: FetchResult[T], *others: FetchResult[Any], thing: str = "transaction") -> T | None:
    """Returns the value of the first result; None if one of them has no value.

    Renders the error in place of a screen without data, and a notice above a screen whose data is outdated.
    """
    missing = next((each for each in (result, *others) if each.value is None), None)
    with st.container():  # one place on the page, whatever is rendered (ADR 14)
        if missing is not None:
            _render_error(f"{key}-error", missing, thing)
            return None
        _render_outdated_notice(f"{key}-outdated", result, *others)
    return result.value


def _render_error(key: str, result: FetchResult[Any], thing: str) -> None:
    if result.error is None:
        return
    notice = error_notice(result.error, thing)
    retries = h("p", "This page retries on its own.", cls="muted") if notice.is_retryable else None
    render(key, message(notice.title, notice.text, h("p", notice.hint, cls="hint"), retries, role="status"))
    st.button("Try now", key=f"{key}-retry")


def _render_outdated_notice(key: str, *results: FetchResult[Any]) -> None:
    outdated = next((result for result in results if result.error and result.value is not None), None)
    if outdated is None or outdated.error is None:
        render(key)
        return
    words = (
        error_notice(outdated.error).title,
        ". The data shown is from ",
        time(outdated.fetched_at),
        "; the page retries on its own.",
    )
    render(key, notice(*words, role="status"))


def render_internal_error() -> None:
    """Renders the error page for a failure of the dashboard itself."""
    text = "The dashboard itself failed; its log has the cause. Your transactions are not affected."
    back = h("p", link("/", "Back to the start"))
    render("internal-error", message("This screen could not be rendered", text, back, role="alert"))
