"""The states of a screen without an answer, or without a fresh one."""

from typing import Any

import streamlit as st

from sagascope_dashboard.components.elements import h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.data import Reading
from sagascope_dashboard.viewmodels.client_errors import error_notice


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
