"""Data health: what arrives, and what is missing."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.health import health
from sagascope_dashboard.views.health import page


def draw() -> None:
    """What the collector knows of what it is sent."""
    st.set_page_config(page_title="Data health · Sagascope")
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    status, services = data.status(), data.services()
    if status.value is None or services.value is None:
        error_states.none_to_show("health-trouble", status if status.value is None else services)
        return
    error_states.outdated("health-outdated", status, services)
    render("health", *page(health(status.value, services.value)))
