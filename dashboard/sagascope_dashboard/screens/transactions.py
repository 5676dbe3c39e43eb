"""Transactions: find, narrow, page through."""

from dataclasses import fields

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.nodes import Node, badge, h, link, time
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.filters import WINDOWS, Filters
from sagascope_dashboard.palette import ATTENTION, STATUS
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.screens.triage import EVERY
from sagascope_dashboard.viewmodels.transactions import Choices, Column, Row, Transactions, choices, transactions

_WORDS = {
    "status": {"": "Any status", **{key: sign.word for key, sign in STATUS.items()}},
    "attention": {
        "": "Any",
        "any": "Needs someone",
        **{key: sign.word for key, sign in ATTENTION.items()},
    },
    "since": {
        "": "Any time",
        **{key: f"Last {words}" for key, words in zip(WINDOWS, ("15 min", "hour", "24 hours", "7 days"), strict=True)},
    },
}


def draw() -> None:
    """The list, as the address narrows it."""
    st.set_page_config(page_title="Transactions · Sagascope")
    paper("transactions-title", h("h1", "Transactions", cls="page-title"))
    filters = _narrow(Filters.read(st.query_params.to_dict()))
    paper("transactions-chips", *_chips(filters))
    _live(filters)


def _narrow(filters: Filters) -> Filters:
    """Draw the filters; what the reader chooses goes to the address."""
    known = choices(data.flows().value, data.services().value)
    # Streamlit forgets the fields of a page that was left.
    if st.session_state.get("narrowed") != filters or "narrow-status" not in st.session_state:
        for field in fields(filters):
            st.session_state[f"narrow-{field.name}"] = getattr(filters, field.name)
    with st.container(key="filters", horizontal=True):
        chosen = filters.having(**_changed(filters, _widgets(known)))
    st.session_state["narrowed"] = chosen
    if chosen != filters:
        st.query_params.from_dict(chosen.query())
    return chosen


def _widgets(known: Choices) -> dict[str, str]:
    chosen = {
        "status": _select("status", "Status", list(_WORDS["status"])),
        "attention": _select("attention", "Attention", list(_WORDS["attention"])),
        "name": _select("name", "Type", ["", *known.names]),
        "service": _select("service", "Service", ["", *known.services]),
        "since": _select("since", "Started", list(_WORDS["since"])),
    }
    step = st.text_input("Step", key="narrow-step", placeholder="Any step")
    if len(known.environments) > 1:
        chosen["environment"] = _select("environment", "Environment", ["", *known.environments])
    return {**chosen, "step": step.strip()}


def _select(field: str, label: str, options: list[str]) -> str:
    now = st.session_state[f"narrow-{field}"]
    words = _WORDS.get(field, {"": "Any"})
    chosen = st.selectbox(
        label,
        options if now in options else [*options, now],
        key=f"narrow-{field}",
        format_func=lambda option: words.get(option, option),
    )
    return str(chosen)


def _changed(filters: Filters, chosen: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in chosen.items() if getattr(filters, name) != value}


def _chips(filters: Filters) -> list[Node]:
    """What narrows the list and has no field of its own."""
    chips: list[Node] = []
    if filters.q:
        chips.append(link(filters.having(q="").href(), f"Matching “{filters.q[:80]}” ✕", cls="action"))
    if filters.until:
        chips.append(link(filters.having(until="").href(), f"Started before {filters.until[:40]} ✕", cls="action"))
    if filters.narrows():
        chips.append(link("/transactions", "Clear all", cls="action"))
    return [h("p", chips, cls="chips")] if chips else []


@st.fragment(run_every=EVERY)
def _live(filters: Filters) -> None:
    page = data.sagas(filters)
    if page.value is None:
        if page.trouble:
            trouble.none_to_show("transactions-trouble", page.trouble)
        return
    trouble.outdated("transactions-outdated", page)
    reason = None
    if filters.q and not page.value.items:
        found = data.search(filters.q).value
        reason = found.reason if found else None
    shown = transactions(page.value, filters, reason)
    paper("transactions", _table(shown), _pager(shown))


def _table(shown: Transactions) -> Node:
    if shown.nothing:
        return h("p", shown.nothing, cls="nothing", role="status")
    return h(
        "table",
        h("thead", h("tr", [_heading(column) for column in shown.columns])),
        h("tbody", [_row(row) for row in shown.rows]),
        cls="list",
    )


def _heading(column: Column) -> Node:
    return h("th", link(column.href, column.title), scope="col", aria_sort=column.order)


def _row(row: Row) -> Node:
    return h(
        "tr",
        h("td", badge(row.reason or row.sign)),
        h(
            "td",
            link(row.href, f"{row.name} ", h("span", row.id, cls="ident")),
            h("span", row.headline, cls="said") if row.reason else None,
            cls="who",
        ),
        h("td", row.where or None, cls="where"),
        h("td", ", ".join(row.exposure) or None, cls="stake"),
        h("td", row.lasted or None, cls="num"),
        h("td", time(row.started, "ago"), cls="num"),
        data_key=row.key,
    )


def _pager(shown: Transactions) -> Node | None:
    links = [
        link(shown.first_href, "First page", cls="action") if shown.first_href else None,
        link(shown.next_href, "Next page", cls="action") if shown.next_href else None,
    ]
    return h("nav", links, cls="pager", aria_label="Pages") if any(links) else None
