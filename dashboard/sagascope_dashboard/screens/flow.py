"""One transaction type."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.filters import FlowAddress
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.flow import flow
from sagascope_dashboard.views.flow import page


def draw() -> None:
    """The type that the address names."""
    address = FlowAddress.read(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Flow · Sagascope")
        render("flow-which", h("section", h("h1", "Which flow?"), h("p", "Choose one under Flows."), cls="trouble"))
        return
    st.set_page_config(page_title=f"{address.name[:60]} · Sagascope")
    _live(address)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(address: FlowAddress) -> None:
    known = data.flow(address)
    if known.value is None:
        error_states.none_to_show("flow-trouble", known, "flow")
        return
    error_states.outdated("flow-outdated", known)
    render("flow", *page(flow(known.value, address, known.at)))
