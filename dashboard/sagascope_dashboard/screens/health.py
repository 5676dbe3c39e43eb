"""Data health: what arrives, and what is missing."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.drawings.health import page
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.viewmodels.health import health


def draw() -> None:
    """What the collector knows of what it is sent."""
    st.set_page_config(page_title="Data health · Sagascope")
    _live()


@st.fragment(run_every=data.EVERY)
def _live() -> None:
    status, services = data.status(), data.services()
    if status.value is None or services.value is None:
        trouble.none_to_show("health-trouble", status if status.value is None else services)
        return
    trouble.outdated("health-outdated", status, services)
    paper("health", *page(health(status.value, services.value)))
