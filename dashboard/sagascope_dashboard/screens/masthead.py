"""The header: the one search field, and the way to each screen."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.elements import h, icon, link
from sagascope_dashboard.components.renderer import keys, render
from sagascope_dashboard.screens import login
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.transactions import searched


def draw(pages: Sequence[Any], *, start: bool) -> None:
    """Draw the header. A search that means one transaction leads to it, any other to the list."""
    with st.container(key="masthead", horizontal=True, vertical_alignment="center"):
        brand = st.container(key="brand-place", width="content")
        with st.form("find", border=False, clear_on_submit=True):
            quoted = st.text_input(
                "Find a transaction", placeholder="Find 8492, an order number, a trace id", label_visibility="collapsed"
            ).strip()
            asked = st.form_submit_button("Find")
        for page in pages:
            st.page_link(page)
        login.out()
        keys(focus=start)
    with brand:
        found = _found(quoted) if asked and quoted else None
        render("brand", h("div", link("/", icon("brand"), "Sagascope"), cls="brand"), go=found, width="content")


def _found(quoted: str) -> str:
    result = data.search(quoted).value
    address = searched(result) if result else None
    return address.href() if address else Filters(q=quoted).href()
