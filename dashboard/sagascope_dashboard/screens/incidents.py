"""Incidents: their rows on the start page, and the page of one."""

from collections.abc import Sequence

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, link, message, table, time
from sagascope_dashboard.components.error_states import error_notice
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.screens.login import user_name
from sagascope_dashboard.viewmodels.incidents import IncidentRow, IncidentView, incident_view


def rows(incidents: Sequence[IncidentRow]) -> Element | None:
    """Builds the list of ongoing incidents; None without any."""
    if not incidents:
        return None
    return h(
        "section", h("h2", "Incidents", cls="section"), h("div", [_row(row) for row in incidents], cls="attention-rows")
    )


def resolved_incidents(incidents: Sequence[IncidentRow]) -> Element | None:
    """Builds the list of incidents resolved lately; None without any."""
    if not incidents:
        return None
    items = [h("li", link(row.href, f"{row.name} at {row.where}", cls="action"), badge(row.state)) for row in incidents]
    return h("section", h("h2", "Resolved lately", cls="section"), h("ul", items, cls="resolved"))


def content(view: IncidentView) -> list[Element | None]:
    """Builds the page of one incident."""
    return [
        h("header", h("h1", view.headline), _badges(view.row), cls=f"incident-head {view.row.style.tone}"),
        h("pre", view.error, cls="sample") if view.error else None,
        h("div", _facts(view.row), cls="row-facts"),
        _examples(view),
        _common_attributes(view),
        _outcomes(view),
    ]


def history(view: IncidentView) -> Element:
    """Builds the history, latest first."""
    items = [
        h("li", time(each.at, "full"), h("span", each.text), h("q", each.note) if each.note else None)
        for each in view.history
    ]
    return h("section", h("h2", "History", cls="section"), h("ol", items, cls="history"))


def _row(row: IncidentRow) -> Element:
    return h(
        "article",
        h("div", link(row.href, h("span", f"{row.count:,} ", cls="count"), row.name), _badges(row), cls="title"),
        h("p", " · ".join(part for part in (row.where, row.error) if part), cls="summary"),
        h("div", h("strong", time(row.since, "for")), h("span", "since ", time(row.since), cls="muted"), cls="age"),
        h("meter", min="0", max="100", value=str(round(row.share * 100)), aria_label=f"{row.count:,} affected"),
        h("div", _facts(row), cls="row-facts"),
        cls=f"attention-row incident {row.style.tone}",
        data_key=row.key,
    )


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


def _common_attributes(view: IncidentView) -> Element | None:
    if not view.common_attributes:
        return None
    names = ("Attribute", "Affected", "Completed", "Lift", "Occurs together with")
    cells_by_row = [(each.text, each.affected, each.completed, each.lift, each.also) for each in view.common_attributes]
    rows = [h("tr", [h("td", cell) for cell in cells]) for cells in cells_by_row]
    title = h("h2", "Common attributes", cls="section")
    return h("section", title, h("div", table(names, rows, "table"), cls="scroll", tabindex="0"))


def _outcomes(view: IncidentView) -> Element | None:
    if not view.outcomes:
        return None
    facts = [node for name, number in view.outcomes for node in (h("dt", name), h("dd", f"{number:,}"))]
    title = h("h2", "Since it was acknowledged", cls="section")
    return h("section", title, h("dl", facts, cls="key-values"))


BUTTONS = {"acknowledged": "Acknowledge", "resolved": "Resolve", "open": "Reopen"}


def page() -> None:
    """Renders the incident that the URL names."""
    st.set_page_config(page_title="Incident · Sagascope")
    key = st.query_params.get("key", "")
    if not key:
        render("incident-which", message("Which incident?", "Choose one under Triage."))
        return
    view = _live_content(key)
    if view:
        _incident_form(key)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content(key: str) -> IncidentView | None:
    known = error_states.current("incident", data.incident(key), thing="incident")
    if known is None:
        return None
    view = incident_view(known)
    render("incident", *content(view), history(view))
    return view


def _incident_form(key: str) -> None:
    """Shows the form for a note or a new state; a form keeps its input while the page above refreshes."""
    with st.form("incident-form", clear_on_submit=True):
        st.text_input("Your name", key="incident-by", value=user_name(), max_chars=200, disabled=bool(user_name()))
        note = st.text_area("Note", placeholder="What you know, and what is being done", max_chars=4_000)
        with st.container(horizontal=True):
            chosen = [state for state, label in BUTTONS.items() if st.form_submit_button(label)]
            only_noted = st.form_submit_button("Add note only")
    if chosen or (only_noted and note.strip()):
        _update(key, chosen[0] if chosen else None, note.strip() or None)


def _update(key: str, state: str | None, note: str | None) -> None:
    by = (user_name() or str(st.session_state.get("incident-by") or "")).strip()[:200] or None
    error = data.update_incident(key, schemas.IncidentPatch.model_validate({"state": state, "note": note, "by": by}))
    if error is not None:
        st.error(f"{error_notice(error).title}. The change was not saved.")
