"""The component that draws trees of nodes."""

from typing import Literal

import streamlit as st

from sagascope_dashboard.components.nodes import Node
from sagascope_dashboard.components.scripts import read

_mount = st.components.v2.component(
    "sagascope.paper",
    css=read("paper.css"),
    js=read("moments.js", "icons.js", "paper.js"),
    isolate_styles=False,
)


def paper(key: str, *tree: Node | None, width: Literal["stretch", "content"] = "stretch") -> str | None:
    """Draw nodes; later calls with the same `key` change in place only what differs.

    Focus, selection, scroll and open details stay. Returns the link within the dashboard that was just followed.
    """
    drawn = [node for node in tree if node is not None]
    followed: str | None = _mount(key=key, data={"tree": drawn}, width=width, on_open_change=_noticed).open
    return followed


def _noticed() -> None:
    """Streamlit reports an event only where a callback is named for it."""
