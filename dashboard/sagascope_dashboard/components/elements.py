"""Elements of a screen, as a tree of plain data, the Streamlit components that render them, and the notices of errors.

An element is text, or ``[tag, attributes, *children]``. Text becomes text and nothing else: neither Markdown nor HTML
is ever read in it, and a link leads only within the dashboard. `renderer.js` holds the same rules in the browser.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import streamlit as st

from sagascope_collector.client import (
    ClientError,
    CollectorUnreachable,
    CredentialsUnusable,
    NotFound,
    NotSagascope,
    Refused,
    Timeout,
    TokenNeeded,
    Unavailable,
    Untrusted,
    schemas,
)
from sagascope_dashboard import data
from sagascope_dashboard.data import FetchResult
from sagascope_dashboard.formatting import MAX_LINE_CHARACTERS, Style, iso, line, sentence_parts
from sagascope_dashboard.urls import WINDOWS, Link
from sagascope_dashboard.viewmodels.records import CallSequence
from sagascope_dashboard.viewmodels.timeline import Timeline

Element = str | list[Any]
Child = Element | None | Iterable["Element | None"]


def h(tag: str, *children: Child, **attributes: Any) -> Element:
    """Returns an element. `cls` is its class, ``_`` in a name becomes ``-``; what is None is left out."""
    given = {
        ("class" if name == "cls" else name.rstrip("_").replace("_", "-")): value
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    return [tag, given, *_flat(children)]


def _flat(children: Iterable[Child]) -> Iterator[Element]:
    for child in children:
        if isinstance(child, str) or (isinstance(child, list) and _is_element(child)):
            yield child
        elif child is not None:
            yield from _flat(child)


def _is_element(candidate: list[Any]) -> bool:
    return len(candidate) > 1 and isinstance(candidate[0], str) and isinstance(candidate[1], dict)


def tab_list(label: str, tabs: Mapping[str, str], chosen: str) -> Element:
    """Returns a list of tabs, given their names and labels; a click or an arrow key chooses one by its name."""

    def tab(name: str, text: str) -> Element:
        state = {"aria_selected": str(name == chosen).lower(), "tabindex": "0" if name == chosen else "-1"}
        return h("button", text, type="button", role="tab", data_choice=name, **state)

    return h("div", *(tab(name, text) for name, text in tabs.items()), role="tablist", aria_label=label, cls="tabs")


def link(href: str, *children: Child, **attributes: Any) -> Element:
    """Returns a link within the dashboard.

    Raises:
        ValueError: the link leads elsewhere.
    """
    if not href.startswith("/") or href.startswith("//"):
        raise ValueError(f"not a link within the dashboard: {href[:80]!r}")
    return h("a", *children, href=href, **attributes)


def icon(name: str) -> Element:
    """Returns an icon; the text beside it has the same meaning."""
    return h("icon", name=name, aria_hidden="true")


def badge(style: Style) -> Element:
    """Returns the badge of a state: icon, label, colour."""
    return h("span", icon(style.icon), h("span", style.label), cls=f"badge {style.tone}")


def table(titles: Iterable[str | Element], rows: Iterable[Element], cls: str = "table cards") -> Element:
    """Returns a table; a title is a text, or the whole cell."""
    heads = [title if isinstance(title, list) else h("th", title, scope="col") for title in titles]
    return h("table", h("thead", h("tr", heads)), h("tbody", rows), cls=cls)


def notice(*text: Child, role: str | None = None) -> Element:
    """Returns a notice about what is shown."""
    return h("p", icon("mark"), h("span", *text), cls="notice", role=role)


def empty_state(text: str) -> Element:
    """Returns what a list without rows says."""
    return h("p", text, cls="empty-state", role="status")


def window_links(current: str, href: Callable[[str], str]) -> Element:
    """Returns the choice of a window up to now; `href` returns the link to the page over a window of `WINDOWS`."""
    links = [
        h("li", link(href(each), f"last {each}", aria_current="true" if each == current else None)) for each in WINDOWS
    ]
    return h("nav", h("ul", links, cls="choices"), aria_label="Window")


def key_values(pairs: Iterable[tuple[str, str]]) -> Element | None:
    """Returns names with their values; None without any."""
    nodes = [node for name, value in pairs for node in (h("dt", name), h("dd", value))]
    return h("dl", nodes, cls="key-values") if nodes else None


def message(title: str, *paragraphs: str | Element | None, role: str | None = None) -> Element:
    """Returns the content of a page that has nothing else to show."""
    texts = [h("p", each) if isinstance(each, str) else each for each in paragraphs]
    return h("section", h("h1", title), texts, cls="error-state", role=role)


def time(moment: datetime, form: Literal["clock", "fine", "full", "ago", "for"] = "clock") -> Element:
    """Returns a time that the browser shows in the reader's zone, with UTC in its tooltip.

    ``clock`` is the time of day, with the date unless it is today; ``fine`` has milliseconds, ``full``
    always the date; ``ago`` and ``for`` tick: "12 min ago", "12 min".
    """
    return h("time", iso(moment), datetime=iso(moment), data_as=form)


def sentence(text: str, parts: schemas.Parts, limit: int = MAX_LINE_CHARACTERS) -> list[Element]:
    """Returns a received sentence with its times in the reader's zone."""
    return [part if isinstance(part, str) else time(part) for part in sentence_parts(text, parts, limit)]


# --- components ------------------------------------------------------------------------------------

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
    """Returns what every component needs: whether times are in UTC, and the last choice that was handled."""
    return {"utc": data.is_utc(), "handled": st.session_state.get(f"{key}-handled")}


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
    _header_component(key="header-keys", data={"focus": focus, "utc": data.is_utc()} | cookie, width=1, height=1)


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


# --- in place of data that cannot be read ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorNotice:
    """Why there is no data, or no fresh data, and what the reader can do."""

    title: str
    text: str
    hint: str
    is_retryable: bool
    """Whether the same call may succeed later; the screen then keeps trying."""


_NOTICES: dict[type[ClientError], tuple[str, str]] = {
    CollectorUnreachable: ("The collector does not answer", "Start it with: sagascope serve"),
    Untrusted: (
        "The collector is not trusted",
        "Start the dashboard with --ca-file, and with --client-cert and --client-key if it requires one.",
    ),
    TokenNeeded: (
        "The collector asks for a token",
        "Start the dashboard with --token-file or SAGASCOPE_TOKEN: the token that readers need.",
    ),
    CredentialsUnusable: (
        "The token or the certificate cannot be read",
        "The dashboard was started with it; once the file is valid, this page continues.",
    ),
    Timeout: ("The collector is slow to answer", "It accepted the call; the next attempt may succeed."),
    Unavailable: ("The collector cannot answer now", "It reports this itself; the next attempt may succeed."),
    NotSagascope: (
        "This is not a Sagascope collector",
        "The dashboard reads the address in SAGASCOPE_URL; both must be of the same version.",
    ),
    NotFound: ("No such {thing}", "It may not have been received yet, or the address may be mistyped."),
    Refused: ("The collector refused the call", "The URL of this page has an invalid value."),
    ClientError: ("No answer", "The next attempt may succeed."),
}
"""The title and the hint of each error."""


def error_notice(error: ClientError, thing: str = "transaction") -> ErrorNotice:
    """Returns the notice for an error when a `thing` was read. The most specific known class decides."""
    kind = next(kind for kind in type(error).__mro__ if kind in _NOTICES)
    title, hint = _NOTICES[kind]
    return ErrorNotice(title.format(thing=thing), line(str(error)), hint, is_retryable=kind is not Refused)


T = TypeVar("T")


def value_or_error(key: str, result: FetchResult[T], *others: FetchResult[Any], thing: str = "transaction") -> T | None:
    """Returns the value of the first result; None if one of them has no value.

    Renders the error in place of a screen without data, and a notice above a screen whose data is outdated.
    """
    missing = next((each for each in (result, *others) if each.value is None), None)
    with st.container():  # one place on the page, whatever is rendered (ADR 14)
        if missing is not None:
            _render_error(f"{key}-error", missing, thing)
            return None
        _render_outdated_notice(f"{key}-outdated", result, *others)
    return result.value


def _render_error(key: str, result: FetchResult[Any], thing: str) -> None:
    if result.error is None:
        return
    shown = error_notice(result.error, thing)
    retries = h("p", "This page retries on its own.", cls="muted") if shown.is_retryable else None
    render(key, message(shown.title, shown.text, h("p", shown.hint, cls="hint"), retries, role="status"))
    st.button("Try now", key=f"{key}-retry")


def _render_outdated_notice(key: str, *results: FetchResult[Any]) -> None:
    """Renders which data is outdated; with none, an empty element, so that a notice of an earlier run goes."""
    outdated = next((result for result in results if result.error and result.value is not None), None)
    if outdated is None or outdated.error is None:
        render(key)
        return
    words = (
        error_notice(outdated.error).title,
        ". The data shown is from ",
        time(outdated.fetched_at),
        "; the page retries on its own.",
    )
    render(key, notice(*words, role="status"))


def render_internal_error() -> None:
    """Renders the error page for a failure of the dashboard itself."""
    text = "The dashboard itself failed; its log has the cause. Your transactions are not affected."
    back = h("p", link("/", "Back to the start"))
    render("internal-error", message("This screen could not be rendered", text, back, role="alert"))
