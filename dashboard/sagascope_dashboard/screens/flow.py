"""One transaction type."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.nodes import h
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.drawings.flow import page
from sagascope_dashboard.filters import FlowAddress
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.viewmodels.flow import flow


def draw() -> None:
    """The type that the address names."""
    address = FlowAddress.read(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Flow · Sagascope")
        paper("flow-which", h("section", h("h1", "Which flow?"), h("p", "Choose one under Flows."), cls="trouble"))
        return
    st.set_page_config(page_title=f"{address.name[:60]} · Sagascope")
    _live(address)


@st.fragment(run_every=data.EVERY)
def _live(address: FlowAddress) -> None:
    known = data.flow(address)
    if known.value is None:
        trouble.none_to_show("flow-trouble", known, "flow")
        return
    trouble.outdated("flow-outdated", known)
    paper("flow", *page(flow(known.value, address, known.at)))
