"""The component that puts the search field one key away."""

import streamlit as st

from sagascope_dashboard.components.scripts import read

_mount = st.components.v2.component("sagascope.keys", js=read("keys.js"), isolate_styles=False)


def keys(*, focus: bool) -> None:
    """Let ``/`` lead to the search field from anywhere; with `focus` the page begins there."""
    _mount(key="keys", data={"focus": focus}, width=1, height=1)
