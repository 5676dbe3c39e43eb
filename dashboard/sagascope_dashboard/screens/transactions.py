"""Transactions: find, narrow, page through."""

from dataclasses import fields

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.palette import ATTENTION, STATUS
from sagascope_dashboard.urls import WINDOWS, Filters
from sagascope_dashboard.viewmodels.transactions import Choices, Column, Row, Transactions, choices, transactions


def chips(filters: Filters) -> Element | None:
    """What narrows the list and has no field of its own."""
    words: list[Element] = []
    if filters.q:
        words.append(link(filters.having(q="").href(), f"Matching “{filters.q[:80]}” ✕", cls="action"))
    if filters.until:
        words.append(link(filters.having(until="").href(), f"Started before {filters.until[:40]} ✕", cls="action"))
    if filters.incident:
        words.append(link(filters.having(incident="").href(), "Of one incident ✕", cls="action"))
    if filters.course:
        words.append(link(filters.having(course="").href(), "Of one course ✕", cls="action"))
    if filters.narrows():
        words.append(link("/transactions", "Clear all", cls="action"))
    return h("p", words, cls="chips") if words else None


def page(shown: Transactions) -> list[Element | None]:
    """One page of the list, or why it is empty."""
    return [_table(shown), _pager(shown)]


def _table(shown: Transactions) -> Element:
    if shown.nothing:
        return h("p", shown.nothing, cls="nothing", role="status")
    return h(
        "table",
        h("thead", h("tr", [_heading(column) for column in shown.columns])),
        h("tbody", [_row(row) for row in shown.rows]),
        cls="list",
    )


def _heading(column: Column) -> Element:
    if column.href is None:
        return h("th", column.title, scope="col")
    return h("th", link(column.href, column.title), scope="col", aria_sort=column.order)


def _row(row: Row) -> Element:
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
        h("td", ", ".join(row.amount_at_risk) or None, cls="stake"),
        h("td", row.lasted or None, cls="num"),
        h("td", time(row.started, "ago"), cls="num"),
        data_key=row.key,
    )


def _pager(shown: Transactions) -> Element | None:
    links = [
        link(shown.first_href, "First page", cls="action") if shown.first_href else None,
        link(shown.next_href, "Next page", cls="action") if shown.next_href else None,
    ]
    return h("nav", links, cls="pager", aria_label="Pages") if any(links) else None


_WORDS = {
    "status": {"": "Any status", **{key: sign.word for key, sign in STATUS.items()}},
    "attention": {"": "Any", "any": "Needs attention", **{key: sign.word for key, sign in ATTENTION.items()}},
    "since": {
        "": "Any time",
        **{key: f"Last {words}" for key, words in zip(WINDOWS, ("15 min", "hour", "24 hours", "7 days"), strict=True)},
    },
}


def draw() -> None:
    """The list, as the address narrows it."""
    st.set_page_config(page_title="Transactions · Sagascope")
    render("transactions-title", h("h1", "Transactions", cls="page-title"))
    filters = _narrow(Filters.read(st.query_params.to_dict()))
    render("transactions-chips", chips(filters))
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


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(filters: Filters) -> None:
    found = data.sagas(filters)
    if found.value is None:
        error_states.none_to_show("transactions-trouble", found)
        return
    error_states.outdated("transactions-outdated", found)
    render("transactions", *page(transactions(found.value, filters, _why_nothing(filters, found.value))))


def _why_nothing(filters: Filters, found: schemas.Sagas) -> str | None:
    if not filters.q or found.items:
        return None
    result = data.search(filters.q).value
    return result.reason if result else None
