"""Triage: the start page."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.drawings.triage import page
from sagascope_dashboard.format import utc_note
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.viewmodels.services import arrivals
from sagascope_dashboard.viewmodels.triage import triage


def draw() -> None:
    """Who needs someone now, the worst first; or that nobody does."""
    st.set_page_config(page_title="Triage · Sagascope")
    _live()


@st.fragment(run_every=data.EVERY)
def _live() -> None:
    incidents, needing = data.incidents(), data.needing_alone()
    if needing.value is None:
        trouble.none_to_show("triage-trouble", needing)
        return
    trouble.outdated("triage-outdated", needing)
    flows, status = data.flows().value, data.status().value
    shown = triage(needing.value, flows, incidents.value)
    note = utc_note(st.context.timezone_offset)
    paper("triage", *page(shown, note, arrivals(status) if status else None))
