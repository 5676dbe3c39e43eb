"""Triage: the start page."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.formatting import utc_note
from sagascope_dashboard.screens import incidents
from sagascope_dashboard.screens.services import notices
from sagascope_dashboard.viewmodels.services import CollectorStatus, collector_status
from sagascope_dashboard.viewmodels.transactions import TransactionRow
from sagascope_dashboard.viewmodels.triage import Triage, keep_order, triage


def content(shown: Triage, note: str = "", status: CollectorStatus | None = None) -> list[Element | None]:
    """Builds the whole screen; `note` follows the title, the collector's notices precede it."""
    return [
        notices(status),
        _header(shown, note),
        incidents.rows(shown.incidents),
        _rows(shown),
        _more_link(shown),
        incidents.resolved_incidents(shown.resolved_incidents),
        _counts(shown),
    ]


def _header(shown: Triage, note: str) -> Element:
    if shown.is_calm:
        return h(
            "header", icon("check"), h("h1", shown.title), h("p", _calm_text(shown), cls="muted"), cls="no-attention"
        )
    return h(
        "header",
        h("h1", shown.title),
        h("p", " ".join(["Most urgent first.", note]).strip(), cls="muted"),
        cls="triage-head",
    )


def _calm_text(shown: Triage) -> str:
    running = next((count.number for count in shown.counts if count.style.label == "Running"), 0)
    if not any(count.number for count in shown.counts):
        return "No transaction has been received yet. They appear here on their own."
    return f"{running:,} running, all within their time limits." if running else "Every transaction has ended."


def _rows(shown: Triage) -> Element | None:
    if not shown.rows:
        return None
    title = h("h2", "Not part of an incident", cls="section") if shown.incidents else None
    return h("section", title, h("div", [_row(row) for row in shown.rows], cls="attention-rows"))


def _row(row: TransactionRow) -> Element:
    style = row.reason or row.style
    since = row.stuck_since or row.started
    facts = [
        *[h("span", amount, cls="amount") for amount in row.amount_at_risk],
        h("span", row.where) if row.where else None,
        h("span", f"{row.attempts} attempts") if row.attempts > 1 else None,
        h("span", row.environment) if row.environment else None,
    ]
    return h(
        "article",
        h("div", link(row.href, h("span", f"{row.name} ", cls="type"), row.id), badge(style), cls="title"),
        h("p", row.headline, cls="summary"),
        h("div", h("strong", time(since, "for")), h("span", "since ", time(since), cls="muted"), cls="age"),
        h("div", facts, cls="row-facts"),
        cls=f"attention-row {style.tone}",
        data_key=row.key,
    )


def _more_link(shown: Triage) -> Element | None:
    if not shown.has_more:
        return None
    return h("p", link("/transactions?attention=any", "All that need attention"), cls="pager")


def _counts(shown: Triage) -> Element | None:
    if not shown.counts:
        return None
    links = [
        link(
            count.href,
            icon(count.style.icon),
            h("strong", f"{count.number:,}"),
            count.style.label.lower(),
            cls=count.style.tone,
        )
        for count in shown.counts
    ]
    return h("nav", links, cls="counts", aria_label="All transactions by status")


SHOWN_KEYS = "triage-keys"


def page() -> None:
    """Renders what needs attention now, most urgent first."""
    st.set_page_config(page_title="Triage · Sagascope")
    st.session_state.pop(SHOWN_KEYS, None)
    _live_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content() -> None:
    incidents, sagas = data.incidents(), error_states.current("triage", data.attention_outside_incidents())
    if sagas is None:
        return
    flows, status = data.flows().value, data.status().value
    shown = triage(sagas, flows, incidents.value)
    note = utc_note(st.context.timezone_offset)
    stable = keep_order(shown, st.session_state.get(SHOWN_KEYS, ()))
    render("triage", *content(stable.shown, note, collector_status(status) if status else None))
    st.session_state[SHOWN_KEYS] = stable.keys
    if stable.news_text:
        _announce(stable.news_text)


def _announce(text: str) -> None:
    """Renders a notice of new rows over the page, so that the rows shown do not move."""
    with st.container(key="triage-news"):
        render("triage-news-text", h("p", text, role="status"))
        st.button("Show", key="triage-show", on_click=lambda: st.session_state.pop(SHOWN_KEYS, None))
