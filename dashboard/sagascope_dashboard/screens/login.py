"""Login by OpenID Connect, where whoever runs the dashboard asks for it: Streamlit's own, off by default."""

from importlib.util import find_spec

import streamlit as st

from sagascope_dashboard.components.nodes import h
from sagascope_dashboard.components.paper import paper


def wanted() -> bool:
    """Whether a login is asked for, and this reader has not logged in."""
    return getattr(st.user, "is_logged_in", None) is False


def draw() -> None:
    """Instead of every screen: the way in."""
    st.set_page_config(page_title="Log in · Sagascope")
    if find_spec("authlib") is None:
        said = "This dashboard asks for a login, and cannot: its server lacks a package."
        hint = "Whoever runs it: pip install 'streamlit[auth]'"
        paper("login", h("section", h("h1", "Log in"), h("p", said), h("p", hint, cls="hint"), cls="trouble"))
        return
    paper("login", h("section", h("h1", "Log in"), h("p", "Transactions are shown to those who are."), cls="trouble"))
    st.button("Log in", on_click=st.login, key="log-in")


def out() -> None:
    """The way out, for who has logged in."""
    if getattr(st.user, "is_logged_in", False):
        st.button("Log out", on_click=st.logout, key="log-out")
