"""Triage: the start page."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.format import utc_note
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.services import arrivals
from sagascope_dashboard.viewmodels.steady import steady
from sagascope_dashboard.viewmodels.triage import triage
from sagascope_dashboard.views.triage import page

DRAWN = "triage-drawn"


def draw() -> None:
    """What needs attention now, the worst first."""
    st.set_page_config(page_title="Triage · Sagascope")
    st.session_state.pop(DRAWN, None)
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    incidents, needing = data.incidents(), data.needing_alone()
    if needing.value is None:
        error_states.none_to_show("triage-trouble", needing)
        return
    error_states.outdated("triage-outdated", needing)
    flows, status = data.flows().value, data.status().value
    shown = triage(needing.value, flows, incidents.value)
    note = utc_note(st.context.timezone_offset)
    still = steady(shown, st.session_state.get(DRAWN, ()))
    render("triage", *page(still.shown, note, arrivals(status) if status else None))
    st.session_state[DRAWN] = still.drawn
    if still.news:
        _announce(still.news)


def _announce(news: str) -> None:
    """Beside what is read, which does not move for it."""
    with st.container(key="triage-news"):
        render("triage-news-said", h("p", news, role="status"))
        st.button("Show", key="triage-show", on_click=lambda: st.session_state.pop(DRAWN, None))
