"""The component that renders trees of elements."""

from typing import Literal

import streamlit as st

from sagascope_dashboard.components.elements import Element
from sagascope_dashboard.components.scripts import RENDERER, read

_mount = st.components.v2.component(
    "sagascope.paper", css=read("renderer.css"), js=read(*RENDERER), isolate_styles=False
)


def render(
    key: str, *tree: Element | None, go: str | None = None, width: Literal["stretch", "content"] = "stretch"
) -> None:
    """Renders elements; later calls with the same `key` change in place only what differs.

    Focus, selection, scroll and open details stay. With `go`, the browser then follows that link within the dashboard.
    """
    elements = [each for each in tree if each is not None]
    _mount(key=key, data={"tree": elements, "go": go}, width=width)
