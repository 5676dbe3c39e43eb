"""Streamlit components of our own: trees of elements, the timeline, downloads, the keys of the header."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from sagascope_collector.client import ClientError
from sagascope_dashboard import data
from sagascope_dashboard.components.elements import Element
from sagascope_dashboard.urls import Link
from sagascope_dashboard.viewmodels.records import CallSequence
from sagascope_dashboard.viewmodels.timeline import Timeline

_HERE = Path(__file__).parent

RENDERER_SCRIPTS = ("times.js", "icons.js", "choices.js", "renderer.js")
"""The scripts that render trees of elements."""

TIMELINE_SCRIPTS = (
    "times.js",
    "icons.js",
    "labels.js",
    "dom.js",
    "choices.js",
    "scale.js",
    "overview.js",
    "axis.js",
    "detail.js",
    "timeline.js",
)
"""The scripts that render a timeline."""

SEQUENCE_SCRIPTS = ("times.js", "icons.js", "dom.js", "choices.js", "scale.js", "sequence.js")
"""The scripts that render a sequence of calls."""


def read_files(*names: str) -> str:
    """Returns the files, joined to one module: the browser cannot import from another component's module."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_tree_component = st.components.v2.component(
    "sagascope.elements", css=read_files("renderer.css"), js=read_files(*RENDERER_SCRIPTS), isolate_styles=False
)


def is_utc() -> bool:
    """Returns whether the reader prefers times in UTC."""
    return bool(st.session_state.get(data.UTC_KEY))


OnChoice = Callable[[str], None]
"""Receives what the reader chose in a component, before the page is run again."""


def render(
    key: str,
    *tree: Element | None,
    go: str | None = None,
    width: Literal["stretch", "content"] = "stretch",
    on_choice: OnChoice | None = None,
) -> None:
    """Renders elements; later calls with the same `key` change in place only what differs.

    Focus, selection, scroll and open details stay. With `go`, the browser then follows that link within the dashboard.
    A click on an element with ``data_choice`` calls `on_choice` with its value.
    """
    elements = [each for each in tree if each is not None]
    choice = _callback(key, on_choice)
    _tree_component(key=key, data={"tree": elements, "go": go} | _shared(key), width=width, on_choice_change=choice)


def _shared(key: str) -> dict[str, object]:
    """The data that every component needs: whether times are in UTC, and the last choice that was handled."""
    return {"utc": is_utc(), "handled": st.session_state.get(f"{key}-handled")}


def _callback(key: str, on_choice: OnChoice | None) -> Callable[[], None]:
    """Returns what handles the choice of a component; one that the browser sends again is handled once."""

    def call() -> None:
        choice = st.session_state[key].choice
        if on_choice is not None and choice is not None and choice["id"] != st.session_state.get(f"{key}-handled"):
            st.session_state[f"{key}-handled"] = choice["id"]
            on_choice(str(choice["value"]))

    return call


_header_component = st.components.v2.component(
    "sagascope.header", css=read_files("header.css"), js=read_files("dom.js", "header.js"), isolate_styles=False
)


def render_keys(*, focus: bool) -> None:
    """Makes ``/`` focus the search field, and ``?`` show the keys; with `focus` the search has the focus at first.

    What the reader chooses with the switch for times in UTC goes to a cookie, which `data.read_kept_utc` reads.
    """
    cookie = {"cookie": data.UTC_COOKIE, "cookie_seconds": data.UTC_COOKIE_SECONDS}
    _header_component(key="header-keys", data={"focus": focus, "utc": is_utc()} | cookie, width=1, height=1)


def plain(value: Any) -> Any:
    """Returns data classes as dicts, at any depth. Unlike `dataclasses.asdict` it copies neither texts nor numbers."""
    if value is None or isinstance(value, str | float | int):
        return value
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value]


_timeline_component = st.components.v2.component(
    "sagascope.timeline", css=read_files("timeline.css"), js=read_files(*TIMELINE_SCRIPTS), isolate_styles=False
)


def render_timeline(key: str, timeline: Timeline, on_choice: OnChoice) -> None:
    """Renders a timeline; later calls with the same `key` change in place what differs.

    Zoom, expanded idle gaps, the selected bar and the focus stay with the reader. A click on folded attempts calls
    `on_choice` with their step, the button that folds all of them again with an empty text.
    """
    _timeline_component(key=key, data=plain(timeline) | _shared(key), on_choice_change=_callback(key, on_choice))


def link_buttons(links: Sequence[Link]) -> None:
    """Renders links to other tools."""
    with st.container(horizontal=True):
        for each in links:
            st.link_button(f"Open in {each.name}", each.url)


_sequence_component = st.components.v2.component(
    "sagascope.sequence",
    css=read_files("timeline.css", "sequence.css"),
    js=read_files(*SEQUENCE_SCRIPTS),
    isolate_styles=False,
)


def render_sequence(key: str, sequence: CallSequence, on_choice: OnChoice) -> None:
    """Renders which service called which; a click on an arrow calls `on_choice` with the key of its span."""
    _sequence_component(key=key, data=plain(sequence) | _shared(key), on_choice_change=_callback(key, on_choice))


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
    shown = {"label": label, "help": tooltip, "file": None, "error": None, **result}
    _download_component(key=key, data=shown, on_requested_change=prepare, width="content")
