"""Services: who is heard, who is silent, what arrives."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.drawings.services import page
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.viewmodels.services import arrivals, services


def draw() -> None:
    """Every service with its processes."""
    st.set_page_config(page_title="Services · Sagascope")
    _live()


@st.fragment(run_every=data.EVERY)
def _live() -> None:
    known, status = data.services(), data.status()
    if known.value is None:
        trouble.none_to_show("services-trouble", known)
        return
    trouble.outdated("services-outdated", known)
    paper("services", *page(services(known.value), arrivals(status.value) if status.value else None))
