"""Incidents: their list, and the page of one."""

import streamlit as st

from sagascope_collector.client import ClientError, schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states, lists
from sagascope_dashboard.components.charts import choose_bar, shares, theme_color, theme_colors
from sagascope_dashboard.components.elements import Element, badge, h, link, message, time
from sagascope_dashboard.components.error_states import error_notice
from sagascope_dashboard.components.renderer import link_buttons, render
from sagascope_dashboard.formatting import iso, line
from sagascope_dashboard.palette import ATTENTION, STATUS
from sagascope_dashboard.screens.login import user_name
from sagascope_dashboard.screens.transactions import csv_button
from sagascope_dashboard.urls import Filters, fitting_window, incident_links
from sagascope_dashboard.viewmodels.incidents import (
    IncidentRow,
    IncidentView,
    incident_row,
    incident_table,
    incident_view,
)


def content(view: IncidentView) -> list[Element | None]:
    """Builds the page of one incident."""
    return [
        h("header", h("h1", view.headline), _badges(view.row), cls=f"incident-head {view.row.style.tone}"),
        h("pre", view.error, cls="sample") if view.error else None,
        h("div", _facts(view.row), cls="row-facts"),
        _examples(view),
        _outcomes(view),
    ]


def history(view: IncidentView) -> Element:
    """Builds the history, latest first."""
    items = [
        h("li", time(each.at, "full"), h("span", each.text), h("q", each.note) if each.note else None)
        for each in view.history
    ]
    return h("section", h("h2", "History", cls="section"), h("ol", items, cls="history"))


def _badges(row: IncidentRow) -> Element:
    return h(
        "span",
        badge(row.style),
        badge(row.scope),
        badge(row.state) if row.state.label != "Open" else None,
        cls="badges",
    )


def _facts(row: IncidentRow) -> list[Element | None]:
    return [
        *[h("span", amount, cls="amount") for amount in row.amount_at_risk],
        *[h("span", words) for words in row.recommended],
        h("span", "for example ", ", ".join(id_ for id_, _ in row.examples[:3])) if row.examples else None,
        h("span", row.environment) if row.environment else None,
        h(
            "span",
            f"{row.acknowledged_by or 'unknown'}: {row.note}" if row.note else f"acknowledged by {row.acknowledged_by}",
        )
        if row.note or row.acknowledged_by
        else None,
    ]


def _examples(view: IncidentView) -> Element:
    links = [link(href, id_, cls="action") for id_, href in view.row.examples]
    return h("p", links, link(view.list_href, "All affected transactions", cls="action"), cls="chips")


def _outcomes(view: IncidentView) -> Element | None:
    if not view.outcomes:
        return None
    facts = [node for name, number in view.outcomes for node in (h("dt", name), h("dd", f"{number:,}"))]
    title = h("h2", "Since it was acknowledged", cls="section")
    return h("section", title, h("dl", facts, cls="key-values"))


BUTTONS = {"acknowledged": "Acknowledge", "resolved": "Resolve", "open": "Reopen"}
"""The label of the change to each state."""

CHANGES = {"open": ("acknowledged", "resolved"), "acknowledged": ("resolved", "open"), "resolved": ("open",)}
"""The states that an incident can change to."""

STATE_KEY = "incident-state"


def list_page() -> None:
    """Renders every ongoing incident, and those resolved lately."""
    st.set_page_config(page_title="Incidents · Sagascope")
    render("incidents-title", h("h1", "Incidents", cls="page-title"))
    _live_list()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_list() -> None:
    known = error_states.current("incidents", data.incidents())
    if known is None:
        return
    chosen = None
    if known.items:
        chosen = lists.choose("Incidents", incident_table([incident_row(each) for each in known.items], data.now()))
    empty = "No incident, and none lately. Transactions that are stuck for one cause appear here on their own."
    render("incidents", None if known.items else h("p", empty, cls="empty-state", role="status"), go=chosen)


def page() -> None:
    """Renders the incident that the URL names."""
    st.set_page_config(page_title="Incident · Sagascope")
    key = st.query_params.get("key", "")
    if not key:
        render("incident-which", message("Which incident?", "Choose one under Incidents."))
        return
    st.session_state.pop(STATE_KEY, None)
    _live_content(key)
    if state := st.session_state.get(STATE_KEY):
        _affected(key)
        _incident_form(key, state)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content(key: str) -> None:
    known = error_states.current("incident", data.incident(key), thing="incident")
    if known is None:
        return
    if st.session_state.setdefault(STATE_KEY, known.state) != known.state:
        st.rerun()  # other buttons apply now
    view = incident_view(known)
    render("incident", *content(view))
    link_buttons(incident_links(data.link_templates(), known))
    chosen = _curve(key, known)
    if known.common_attributes:
        render("incident-common", h("h2", "Common attributes", cls="section"))
        chart = shares(known.common_attributes, theme_colors(STATUS), theme_color("textColor", "#000000"))
        st.altair_chart(chart, alt="Common attributes")
    render("incident-history", history(view), go=chosen)


def _curve(key: str, incident: schemas.Incident) -> str | None:
    """Renders when the affected transactions stopped, or, of those that ended, started; returns the link of a bar."""
    filters = Filters(incident=key)
    counts = data.counts(filters, fitting_window(incident.since, data.now())).value
    if counts is None:
        return None
    if incident.failure_rate:
        return choose_bar("Affected, by start", counts, "started", STATUS)
    return choose_bar(
        "Affected, by when they stopped",
        counts,
        "attention",
        ATTENTION,
        lambda _, start, end: filters.with_changes(stuck_since=iso(start), stuck_until=iso(end)).href(),
        key,
    )


@st.fragment
def _affected(key: str) -> None:
    """Renders the ids of the affected transactions, to copy or as a file."""
    filters = Filters(incident=key)
    with st.container(horizontal=True):
        csv_button(filters, "incident")
        is_shown = st.toggle("Show the ids to copy", key="incident-ids")
    if is_shown:
        try:
            ids = [line(each.id) for each in data.all_sagas(filters)]
        except ClientError as error:
            st.error(error_notice(error).title)
        else:
            st.code("\n".join(ids), language=None, height=240)


def _incident_form(key: str, state: str) -> None:
    """Shows the form for a note or a new state; a form keeps its input while the page above refreshes."""
    with st.form("incident-form", clear_on_submit=True):
        st.text_input("Your name", key="incident-by", value=user_name(), max_chars=200, disabled=bool(user_name()))
        note = st.text_area("Note", placeholder="What you know, and what is being done", max_chars=4_000)
        with st.container(horizontal=True):
            chosen = [each for each in CHANGES.get(state, BUTTONS) if st.form_submit_button(BUTTONS[each])]
            only_noted = st.form_submit_button("Add note only")
    if chosen or (only_noted and note.strip()):
        _update(key, chosen[0] if chosen else None, note.strip() or None)


def _update(key: str, state: str | None, note: str | None) -> None:
    by = (user_name() or str(st.session_state.get("incident-by") or "")).strip()[:200] or None
    error = data.update_incident(key, schemas.IncidentPatch.model_validate({"state": state, "note": note, "by": by}))
    if error is not None:
        st.error(f"{error_notice(error).title}. The change was not saved.")
