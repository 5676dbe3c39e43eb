"""Flows: the transaction types."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.flows import flows
from sagascope_dashboard.views.flows import page


def draw() -> None:
    """Every transaction type, and how theirs stand."""
    st.set_page_config(page_title="Flows · Sagascope")
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    known = data.flows()
    if known.value is None:
        error_states.none_to_show("flows-trouble", known)
        return
    error_states.outdated("flows-outdated", known)
    render("flows", *page(flows(known.value)))
