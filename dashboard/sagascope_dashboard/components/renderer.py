"""Streamlit components of our own: trees of elements, the timeline, downloads, the shortcut to the search field."""

import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import streamlit as st

from sagascope_collector.client import ClientError
from sagascope_dashboard.components.elements import Element
from sagascope_dashboard.viewmodels.timeline import Timeline

_HERE = Path(__file__).parent

RENDERER_SCRIPTS = ("times.js", "icons.js", "renderer.js")
"""The scripts that render trees of elements."""

TIMELINE_SCRIPTS = (
    "times.js",
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


def read_files(*names: str) -> str:
    """Returns the files, joined to one module: the browser cannot import from another component's module."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_tree_component = st.components.v2.component(
    "sagascope.elements", css=read_files("renderer.css"), js=read_files(*RENDERER_SCRIPTS), isolate_styles=False
)


def render(
    key: str, *tree: Element | None, go: str | None = None, width: Literal["stretch", "content"] = "stretch"
) -> None:
    """Renders elements; later calls with the same `key` change in place only what differs.

    Focus, selection, scroll and open details stay. With `go`, the browser then follows that link within the dashboard.
    """
    elements = [each for each in tree if each is not None]
    _tree_component(key=key, data={"tree": elements, "go": go}, width=width)


_shortcut_component = st.components.v2.component(
    "sagascope.search_shortcut", js=read_files("search_shortcut.js"), isolate_styles=False
)


def search_shortcut(*, focus: bool) -> None:
    """Makes ``/`` focus the search field from anywhere; with `focus` it has the focus at first."""
    _shortcut_component(key="search-shortcut", data={"focus": focus}, width=1, height=1)


_timeline_component = st.components.v2.component(
    "sagascope.timeline", css=read_files("timeline.css"), js=read_files(*TIMELINE_SCRIPTS), isolate_styles=False
)


def render_timeline(key: str, timeline: Timeline) -> None:
    """Renders a timeline; later calls with the same `key` change in place what differs.

    Zoom, expanded idle gaps, the selected bar and the focus stay with the reader.
    """
    _timeline_component(key=key, data=asdict(timeline))


_download_component = st.components.v2.component(
    "sagascope.download", css=read_files("renderer.css"), js=read_files("download.js"), isolate_styles=False
)


@st.fragment
def download_button(
    label: str, content: Callable[[], str], *, file_name: str, mime: str, key: str, tooltip: str = ""
) -> None:
    """Renders a button that downloads what `content` returns when it is clicked.

    `st.download_button` cannot be used on pages that refresh: Streamlit deletes a generated file after two refreshes of
    any session, often before the browser has asked for it. A `ClientError` of `content` is shown on the button.
    """
    state_key = f"{key}-result"

    def prepare() -> None:
        try:
            file = {"name": file_name, "mime": mime, "text": content(), "token": uuid.uuid4().hex}
            st.session_state[state_key] = {"file": file}
        except ClientError as error:
            st.session_state[state_key] = {"error": str(error)}

    result = st.session_state.pop(state_key, {})  # a file is sent once
    data = {"label": label, "help": tooltip, "file": None, "error": None, **result}
    _download_component(key=key, data=data, on_requested_change=prepare, width="content")
