"""Services: who is heard, who is silent, what arrives."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.services import arrivals, services
from sagascope_dashboard.views.services import page


def draw() -> None:
    """Every service with its processes."""
    st.set_page_config(page_title="Services · Sagascope")
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    known, status = data.services(), data.status()
    if known.value is None:
        error_states.none_to_show("services-trouble", known)
        return
    error_states.outdated("services-outdated", known)
    render("services", *page(services(known.value), arrivals(status.value) if status.value else None))
