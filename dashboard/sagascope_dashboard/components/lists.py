"""Lists: their filters, bound to the URL, and tables from which the reader chooses a row or a title."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal
from zlib import crc32

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.elements import Element, h, link, time
from sagascope_dashboard.formatting import ATTENTION, FAILURE_RATE, INCIDENT, SENDERS, STATUS, Tone, parse_time
from sagascope_dashboard.urls import WINDOWS, Filters
from sagascope_dashboard.viewmodels.transactions import Table, filter_options

MAX_ROWS_AT_ONCE = 14
"""Rows that a table shows without scrolling in it."""

ROW_PIXELS = 38

COLUMN_PIXELS = {
    "Transaction": 130,
    "Amount at risk": 150,
    "Keys": 210,
    "Summary": 620,
    "Error": 280,
    "Path": 480,
    "Differs": 260,
}
"""Pixels of the columns whose content differs much."""

TONE_COLORS: dict[Tone, Any] = {
    "alarm": "red",
    "wait": "yellow",
    "work": "blue",
    "good": "green",
    "compensate": "violet",
    "idle": "gray",
}

_STYLES = (*STATUS.values(), *ATTENTION.values(), *INCIDENT.values(), FAILURE_RATE, *SENDERS)
_TONES = {style.label: TONE_COLORS[style.tone] for style in _STYLES}
"""The colour of each state, by its label."""


def choose(name: str, shown: Table, title_href: Callable[[str], str] | None = None) -> str | None:
    """Renders a table; returns the link that the reader chose since.

    `title_href` returns the link of a title, for example to the list in that order. The name of a table is its
    accessible name. A table with another name, or of another list, begins at its top and without a selection.
    """
    key = f"table-{crc32(f'{name} {shown.list_name}'.encode()):x}"

    def on_select() -> None:
        selected = st.session_state[key].selection
        if selected.rows:
            note_choice(key, shown.hrefs[selected.rows[0]])
        elif selected.columns and title_href:
            note_choice(key, title_href(selected.columns[0]))

    # Where columns can be selected, a click on a title does not sort the page alone.
    show(name, shown, key=key, on_select=on_select, selection_mode=["single-row", "single-column"])
    return chosen(key)


def show(name: str, shown: Table, **selection: Any) -> None:
    """Renders a table; without `selection`, nothing is chosen from it."""
    columns = shown.rows[0] if shown.rows else shown.titles
    st.dataframe(
        list(shown.rows),
        hide_index=True,
        height=height(len(shown.rows)),
        row_height=ROW_PIXELS,
        placeholder="",
        column_config={column: _column(column, shown.titles.get(column, column), shown.rows) for column in columns},
        alt=name,
        **selection,
    )


def height(rows: int) -> int | Literal["content"]:
    """Returns the height of a table: of its content, or where it scrolls in itself in pixels."""
    return "content" if rows <= MAX_ROWS_AT_ONCE else (MAX_ROWS_AT_ONCE + 1) * ROW_PIXELS


_CHOICE_KEY = "choice"


def note_choice(key: str, href: str) -> None:
    """Keeps what was chosen in a table or chart until the page that it leads to runs.

    A refresh that is interrupted by the next one must not lose it.
    """
    st.session_state[_CHOICE_KEY] = key, href


def chosen(key: str) -> str | None:
    """Returns the link that was chosen in this table or chart."""
    where, href = st.session_state.get(_CHOICE_KEY, ("", None))
    return href if where == key else None


def forget_choice() -> None:
    """Forgets what was chosen, at the start of a page."""
    st.session_state.pop(_CHOICE_KEY, None)


def _column(column: str, title: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    columns = st.column_config
    if column in ("Status", "Reason", "State"):
        return columns.MultiselectColumn(title, options=list(_TONES), color=list(_TONES.values()))
    if column in ("Started", "Since", "Last seen", "First seen"):
        return columns.DatetimeColumn(title, format="D MMM YYYY, HH:mm:ss", timezone=data.zone())
    if column == "Keys":
        return columns.ListColumn(title, width=COLUMN_PIXELS[column])
    if any(isinstance(row[column], int) for row in rows):
        return columns.NumberColumn(title, width=COLUMN_PIXELS.get(column), format="localized")
    return columns.Column(title, width=COLUMN_PIXELS.get(column))


FIELD_LABELS = {
    "status": "Status",
    "attention": "Attention",
    "name": "Type",
    "service": "Service",
    "environment": "Environment",
    "since": "Started",
    "step": "Step",
    "amount": "Amount at risk from",
    "sort": "Order",
}
"""The labels of the fields for filters and order."""

_OPTION_LABELS = {
    "status": {"": "Any status", **{key: style.label for key, style in STATUS.items()}},
    "attention": {"": "Any", "any": "Needs attention", **{key: style.label for key, style in ATTENTION.items()}},
    "since": {
        "": "Any time",
        **{key: f"Last {words}" for key, words in zip(WINDOWS, ("15 min", "hour", "24 hours", "7 days"), strict=True)},
    },
    "sort": {
        "": "Newest first",
        "started": "Oldest first",
        "urgency": "Most urgent first",
        "since": "Longest stuck first",
        "-amount": "Largest amount at risk first",
        "-attempts": "Most attempts first",
        "-duration": "Longest duration first",
        "-updated": "Latest change first",
    },
}

CHIP_LABELS = {
    "q": "Matching",
    "until": "Started before",
    "stuck_since": "Stuck since",
    "stuck_until": "Stuck since before",
    "incident": "Of one incident",
    "path": "On one path",
}
"""The filters that never have a field, with the words before their value; most values are times.

Every filter of `Filters` is here or in `FIELD_LABELS`.
"""


def read_filters(names: Sequence[str], kept: Mapping[str, str] | None = None) -> Filters:
    """Renders a field for each of these filters; what the reader selects goes to the URL, beside what is `kept`."""
    filters = Filters.parse(st.query_params.to_dict())
    known = filter_options(data.flows().value, data.services().value)
    # Streamlit forgets the fields that a page had when it is left, and keeps those of other pages
    is_forgotten = any(f"filter-{name}" not in st.session_state for name in names)
    if is_forgotten or st.session_state.get("applied-filters") != filters:
        for field in fields(filters):
            st.session_state[f"filter-{field.name}"] = getattr(filters, field.name)
    with st.container(key="filters", horizontal=True):
        chosen = {name: _field(name, known) for name in names if name != "environment" or known[name][1:]}
    changed = filters.with_changes(**{name: now for name, now in chosen.items() if getattr(filters, name) != now})
    st.session_state["applied-filters"] = changed
    if changed != filters:
        st.query_params.from_dict({**changed.query(), **(kept or {})})
    return changed


def _field(name: str, known: Mapping[str, Sequence[str]]) -> str:
    if name in ("step", "amount"):
        return st.text_input(FIELD_LABELS[name], key=f"filter-{name}", placeholder="Any").strip()
    words = _OPTION_LABELS.get(name, {"": "Any"})
    choices = ["", *known[name]] if name in known else list(words)
    now = st.session_state[f"filter-{name}"]
    chosen = st.selectbox(
        FIELD_LABELS[name],
        choices if now in choices else [*choices, now],
        key=f"filter-{name}",
        format_func=lambda option: words.get(option, option),
    )
    return str(chosen)


def chips(filters: Filters, shown: Sequence[str], href: Callable[[Filters], str]) -> Element | None:
    """Builds the active filters other than those with fields on the page; `href` returns the link to a list."""
    links: list[Element] = []
    for name, words in (FIELD_LABELS | CHIP_LABELS).items():
        if (value := getattr(filters, name)) and name not in shown and name != "sort":
            without = href(filters.with_changes(**{name: ""}))
            links.append(link(without, f"{words} ", _chip_value(name, value), " ✕", cls="action"))
    if filters.is_filtered():
        links.append(link(href(Filters(sort=filters.sort)), "Clear all", cls="action"))
    return h("p", links, cls="chips") if links else None


def _chip_value(name: str, value: str) -> Element | str | None:
    if name == "q":
        return f"“{value[:80]}”"
    if name in FIELD_LABELS and name != "since":
        return _OPTION_LABELS.get(name, {}).get(value, value[:80])
    return _OPTION_LABELS.get(name, {}).get(value) or _moment(value)


def _moment(text: str) -> Element | None:
    moment = parse_time(text)
    return time(moment) if moment else None
