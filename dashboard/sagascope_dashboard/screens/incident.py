"""One incident: what its sagas have in common, and what people say of it."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components.nodes import h
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.drawings.incidents import history, page
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.screens.login import name
from sagascope_dashboard.viewmodels.incidents import Incident, incident
from sagascope_dashboard.viewmodels.trouble import trouble as in_words

BUTTONS = {"acknowledged": "Acknowledge", "resolved": "It is over", "open": "Open again"}


def draw() -> None:
    """The incident that the address names."""
    st.set_page_config(page_title="Incident · Sagascope")
    key = st.query_params.get("key", "")
    if not key:
        paper("incident-which", h("section", h("h1", "Which incident?"), h("p", "See Triage."), cls="trouble"))
        return
    shown = _live(key)
    if shown:
        _say(key)


@st.fragment(run_every=data.EVERY)
def _live(key: str) -> Incident | None:
    reading = data.incident(key)
    if reading.value is None:
        trouble.none_to_show("incident-trouble", reading, "incident")
        return None
    trouble.outdated("incident-outdated", reading)
    shown = incident(reading.value)
    paper("incident", *page(shown), history(shown))
    return shown


def _say(key: str) -> None:
    """What somebody says of it; a form, so that nothing is lost while the page above goes on."""
    with st.form("incident-say", clear_on_submit=True):
        st.text_input("Your name", key="incident-by", value=name(), max_chars=200, disabled=bool(name()))
        note = st.text_area("Note", placeholder="What you know, and what is being done", max_chars=4_000)
        with st.container(horizontal=True):
            chosen = [state for state, word in BUTTONS.items() if st.form_submit_button(word)]
            only_noted = st.form_submit_button("Only note it")
    if chosen or (only_noted and note.strip()):
        _tell(key, chosen[0] if chosen else None, note.strip() or None)


def _tell(key: str, state: str | None, note: str | None) -> None:
    by = (name() or str(st.session_state.get("incident-by") or "")).strip()[:200] or None
    stood = data.update_incident(key, schemas.IncidentPatch.model_validate({"state": state, "note": note, "by": by}))
    if stood is not None:
        st.error(f"{in_words(stood).title}. It was not noted.")
