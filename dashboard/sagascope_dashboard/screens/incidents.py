"""Incidents: their list, and the page of one."""

import streamlit as st

from sagascope_collector.client import ClientError, schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.charts import chart_of_shares, choose_bar, theme_color, theme_colors
from sagascope_dashboard.components.elements import (
    Element,
    badge,
    empty_state,
    error_notice,
    h,
    key_values,
    link,
    link_buttons,
    message,
    render,
    time,
    value_or_error,
)
from sagascope_dashboard.formatting import ATTENTION, STATUS, amounts_at_risk, block, iso, line
from sagascope_dashboard.screens.login import user_name
from sagascope_dashboard.screens.transactions import csv_button
from sagascope_dashboard.urls import Filters, fitting_window, incident_links
from sagascope_dashboard.viewmodels.attention import (
    change_text,
    examples,
    headline,
    incident_scope,
    incident_state,
    incident_style,
    incident_table,
    outcomes,
    recommended,
)


def content(known: schemas.IncidentInFull) -> list[Element | None]:
    """Builds the page of one incident."""
    style, state = incident_style(known), incident_state(known)
    badges = [badge(style), badge(incident_scope(known)), badge(state) if known.state != "open" else None]
    head = h("header", h("h1", headline(known)), h("span", badges, cls="badges"), cls=f"incident-head {style.tone}")
    return [
        head,
        h("pre", block(known.error_sample, 2_000), cls="sample") if known.error_sample else None,
        h("div", _facts(known), cls="row-facts"),
        _examples(known),
        _outcomes(known),
    ]


def history(known: schemas.IncidentInFull) -> Element:
    """Builds the history, latest first."""
    items = [
        h(
            "li",
            time(each.at, "full"),
            h("span", change_text(each)),
            h("q", line(each.note, 1_000)) if each.note else None,
        )
        for each in reversed(known.history)
    ]
    return h("section", h("h2", "History", cls="section"), h("ol", items, cls="history"))


def _facts(known: schemas.Incident) -> list[Element | None]:
    by, note = line(known.acknowledged_by or "", 80), line(known.note or "", 300)
    return [
        *[h("span", amount, cls="amount") for amount in amounts_at_risk(known.amount_at_risk)],
        *[h("span", words) for words in recommended(known)],
        h("span", "for example ", ", ".join(id_ for id_, _ in examples(known)[:3])) if known.examples else None,
        h("span", line(known.environment, 40)) if known.environment else None,
        h("span", f"{by or 'unknown'}: {note}" if note else f"acknowledged by {by}") if note or by else None,
    ]


def _examples(known: schemas.Incident) -> Element:
    links = [link(href, id_, cls="action") for id_, href in examples(known)]
    href = Filters(incident=known.key).href()
    return h("p", links, link(href, "All affected transactions", cls="action"), cls="chips")


def _outcomes(known: schemas.IncidentInFull) -> Element | None:
    facts = key_values((name, f"{number:,}") for name, number in outcomes(known.progress).items())
    return h("section", h("h2", "Since it was acknowledged", cls="section"), facts) if facts else None


BUTTONS = {"acknowledged": "Acknowledge", "resolved": "Resolve", "open": "Reopen"}
"""The label of the change to each state."""

CHANGES = {"open": ("acknowledged", "resolved"), "acknowledged": ("resolved", "open"), "resolved": ("open",)}
"""The states that an incident can change to."""

STATE_KEY = "incident-state"


def list_page() -> None:
    """Renders every ongoing incident, and those resolved lately."""
    render("incidents-title", h("h1", "Incidents", cls="page-title"))
    _live_list()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_list() -> None:
    known = value_or_error("incidents", data.incidents())
    if known is None:
        return
    chosen = None
    if known.items:
        chosen = lists.choose("Incidents", incident_table(known.items, data.now()))
    empty = "No incident, and none lately. Transactions that are stuck for one cause appear here on their own."
    render("incidents", None if known.items else empty_state(empty), go=chosen)


def page() -> None:
    """Renders the incident that the URL names."""
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
    known = value_or_error("incident", data.incident(key), thing="incident")
    if known is None:
        return
    if st.session_state.setdefault(STATE_KEY, known.state) != known.state:
        st.rerun()  # other buttons apply now
    render("incident", *content(known))
    link_buttons(incident_links(data.link_templates(), known))
    chosen = _curve(key, known)
    if known.common_attributes:
        render("incident-common", h("h2", "Common attributes", cls="section"))
        chart = chart_of_shares(known.common_attributes, theme_colors(STATUS), theme_color("textColor", "#000000"))
        st.altair_chart(chart, alt="Common attributes")
    render("incident-history", history(known), go=chosen)


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
