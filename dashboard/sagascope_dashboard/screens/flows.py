"""Flows: the transaction types."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.drawings.flows import page
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.viewmodels.flows import flows


def draw() -> None:
    """Every transaction type, and how theirs stand."""
    st.set_page_config(page_title="Flows · Sagascope")
    _live()


@st.fragment(run_every=data.EVERY)
def _live() -> None:
    known = data.flows()
    if known.value is None:
        trouble.none_to_show("flows-trouble", known)
        return
    trouble.outdated("flows-outdated", known)
    paper("flows", *page(flows(known.value)))
