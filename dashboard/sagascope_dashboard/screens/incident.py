"""One incident: what its sagas have in common, and what people say of it."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.screens.login import name
from sagascope_dashboard.viewmodels.client_errors import error_notice
from sagascope_dashboard.viewmodels.incidents import Incident, incident
from sagascope_dashboard.views.incidents import history, page

BUTTONS = {"acknowledged": "Acknowledge", "resolved": "It is over", "open": "Open again"}


def draw() -> None:
    """The incident that the address names."""
    st.set_page_config(page_title="Incident · Sagascope")
    key = st.query_params.get("key", "")
    if not key:
        render("incident-which", h("section", h("h1", "Which incident?"), h("p", "See Triage."), cls="trouble"))
        return
    shown = _live(key)
    if shown:
        _incident_form(key)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(key: str) -> Incident | None:
    reading = data.incident(key)
    if reading.value is None:
        error_states.none_to_show("incident-trouble", reading, "incident")
        return None
    error_states.outdated("incident-outdated", reading)
    shown = incident(reading.value)
    render("incident", *page(shown), history(shown))
    return shown


def _incident_form(key: str) -> None:
    """Shows the form for a note or a new state; a form keeps its input while the page above refreshes."""
    with st.form("incident-say", clear_on_submit=True):
        st.text_input("Your name", key="incident-by", value=name(), max_chars=200, disabled=bool(name()))
        note = st.text_area("Note", placeholder="What you know, and what is being done", max_chars=4_000)
        with st.container(horizontal=True):
            chosen = [state for state, word in BUTTONS.items() if st.form_submit_button(word)]
            only_noted = st.form_submit_button("Only note it")
    if chosen or (only_noted and note.strip()):
        _update(key, chosen[0] if chosen else None, note.strip() or None)


def _update(key: str, state: str | None, note: str | None) -> None:
    by = (name() or str(st.session_state.get("incident-by") or "")).strip()[:200] or None
    error = data.update_incident(key, schemas.IncidentPatch.model_validate({"state": state, "note": note, "by": by}))
    if error is not None:
        st.error(f"{error_notice(error).title}. It was not noted.")
