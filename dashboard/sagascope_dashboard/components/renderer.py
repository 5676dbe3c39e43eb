"""The component that renders trees of elements."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import streamlit as st

from sagascope_dashboard.components.elements import Element
from sagascope_dashboard.viewmodels.timeline import Timeline

_HERE = Path(__file__).parent

RENDERER = ("moments.js", "icons.js", "renderer.js")
"""The scripts that render trees of elements."""

TIMELINE = (
    "moments.js",
    "icons.js",
    "labels.js",
    "dom.js",
    "scale.js",
    "overview.js",
    "axis.js",
    "detail.js",
    "timeline.js",
)
"""The scripts that render a timeline."""


def read(*names: str) -> str:
    """Files joined in this order: one module for the browser, which cannot import from another component's."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_tree_component = st.components.v2.component(
    "sagascope.paper", css=read("renderer.css"), js=read(*RENDERER), isolate_styles=False
)


def render(
    key: str, *tree: Element | None, go: str | None = None, width: Literal["stretch", "content"] = "stretch"
) -> None:
    """Renders elements; later calls with the same `key` change in place only what differs.

    Focus, selection, scroll and open details stay. With `go`, the browser then follows that link within the dashboard.
    """
    elements = [each for each in tree if each is not None]
    _tree_component(key=key, data={"tree": elements, "go": go}, width=width)


_shortcut_component = st.components.v2.component("sagascope.keys", js=read("keys.js"), isolate_styles=False)


def keys(*, focus: bool) -> None:
    """Let ``/`` lead to the search field from anywhere; with `focus` the page begins there."""
    _shortcut_component(key="keys", data={"focus": focus}, width=1, height=1)


_timeline_component = st.components.v2.component(
    "sagascope.timeline", css=read("timeline.css"), js=read(*TIMELINE), isolate_styles=False
)


def timeline(key: str, drawn: Timeline) -> None:
    """Draw a timeline; later calls with the same `key` change in place what differs.

    Zoom, opened stretches, the selected bar and the focus stay with the reader.
    """
    _timeline_component(key=key, data=asdict(drawn))
