"""The component that draws trees of nodes."""

from typing import Literal

import streamlit as st

from sagascope_dashboard.components.nodes import Node
from sagascope_dashboard.components.scripts import PAPER, read

_mount = st.components.v2.component(
    "sagascope.paper",
    css=read("paper.css"),
    js=read(*PAPER),
    isolate_styles=False,
)


def paper(
    key: str, *tree: Node | None, go: str | None = None, width: Literal["stretch", "content"] = "stretch"
) -> None:
    """Draw nodes; later calls with the same `key` change in place only what differs.

    Focus, selection, scroll and open details stay. With `go`, the browser then follows that link within the dashboard.
    """
    drawn = [node for node in tree if node is not None]
    _mount(key=key, data={"tree": drawn, "go": go}, width=width)
