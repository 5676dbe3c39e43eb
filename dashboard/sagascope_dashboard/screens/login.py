"""Login by OpenID Connect, where the operator of the dashboard configures it: Streamlit's own, off by default."""

from importlib.util import find_spec

import streamlit as st

from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.signing import PARAMETER, REFUSED, UNREACHABLE

WELCOME = "Transactions are shown to those who are."
FAILED = {
    REFUSED: "You were not let in: the login was refused, or what came back could not be trusted.",
    UNREACHABLE: "Who says who you are does not answer. Try again in a moment.",
}


def wanted() -> bool:
    """Whether a login is asked for, and this reader has not logged in."""
    return getattr(st.user, "is_logged_in", None) is False


def draw() -> None:
    """Instead of every screen: the way in."""
    st.set_page_config(page_title="Log in · Sagascope")
    if find_spec("authlib") is None:
        said = "This dashboard asks for a login, and cannot: its server lacks a package."
        hint = "Its operator runs: pip install 'streamlit[auth]'"
        render("login", h("section", h("h1", "Log in"), h("p", said), h("p", hint, cls="hint"), cls="trouble"))
        return
    failed = FAILED.get(st.query_params.get(PARAMETER, ""))
    cause = [h("p", "The cause is in the dashboard's log, for its operator.", cls="hint")] if failed else []
    render("login", h("section", h("h1", "Log in"), h("p", failed or WELCOME), *cause, cls="trouble"))
    st.button("Try again" if failed else "Log in", on_click=st.login, key="log-in")


def name() -> str:
    """Who is logged in, where the dashboard asks for that; else nothing."""
    user = st.user.to_dict() if getattr(st.user, "is_logged_in", False) else {}
    return str(user.get("name") or user.get("email") or "")


def out() -> None:
    """The way out, for who has logged in."""
    if getattr(st.user, "is_logged_in", False):
        st.button("Log out", on_click=st.logout, key="log-out")
