"""Transactions: filter, sort, page through."""

from dataclasses import fields

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, link, time
from sagascope_dashboard.components.renderer import download_button, render
from sagascope_dashboard.palette import ATTENTION, STATUS
from sagascope_dashboard.urls import WINDOWS, Filters
from sagascope_dashboard.viewmodels.transactions import (
    Column,
    FilterOptions,
    TransactionRow,
    Transactions,
    as_csv,
    filter_options,
    transactions,
)


def chips(filters: Filters) -> Element | None:
    """Builds the active filters that have no widget."""
    links: list[Element] = []
    if filters.q:
        links.append(link(filters.with_changes(q="").href(), f"Matching “{filters.q[:80]}” ✕", cls="action"))
    if filters.until:
        links.append(
            link(filters.with_changes(until="").href(), f"Started before {filters.until[:40]} ✕", cls="action")
        )
    if filters.incident:
        links.append(link(filters.with_changes(incident="").href(), "Of one incident ✕", cls="action"))
    if filters.path:
        links.append(link(filters.with_changes(path="").href(), "On one path ✕", cls="action"))
    if filters.is_filtered():
        links.append(link("/transactions", "Clear all", cls="action"))
    return h("p", links, cls="chips") if links else None


def content(shown: Transactions) -> list[Element | None]:
    """Builds one page of the list, or the reason why it is empty."""
    return [_table(shown), _pager(shown)]


def _table(shown: Transactions) -> Element:
    if shown.empty_text:
        return h("p", shown.empty_text, cls="empty-state", role="status")
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


def _row(row: TransactionRow) -> Element:
    return h(
        "tr",
        h("td", badge(row.reason or row.style)),
        h(
            "td",
            link(row.href, f"{row.name} ", h("span", row.id, cls="id")),
            h("span", ", ".join(row.keys), cls="muted keys") if row.keys else None,
            h("span", row.headline, cls="summary") if row.reason else None,
            cls="title",
        ),
        h(
            "td",
            row.where or None,
            h("span", f", {row.attempts:,} attempts") if row.attempts > 1 else None,
            cls="where",
        ),
        h("td", ", ".join(row.amount_at_risk) or None, cls="amount"),
        h("td", _duration(row), cls="num"),
        h("td", time(row.started, "ago"), cls="num"),
        data_key=row.key,
    )


def _duration(row: TransactionRow) -> list[Element] | str | None:
    if row.stuck_since:
        return ["stuck for ", time(row.stuck_since, "for")]
    return row.duration_text or None


def _pager(shown: Transactions) -> Element | None:
    links = [
        link(shown.first_href, "First page", cls="action") if shown.first_href else None,
        link(shown.next_href, "Next page", cls="action") if shown.next_href else None,
    ]
    return h("nav", links, cls="pager", aria_label="Pages") if any(links) else None


_OPTION_LABELS = {
    "status": {"": "Any status", **{key: style.label for key, style in STATUS.items()}},
    "attention": {"": "Any", "any": "Needs attention", **{key: style.label for key, style in ATTENTION.items()}},
    "since": {
        "": "Any time",
        **{key: f"Last {words}" for key, words in zip(WINDOWS, ("15 min", "hour", "24 hours", "7 days"), strict=True)},
    },
}


def page() -> None:
    """Renders the list with the filters of the URL."""
    st.set_page_config(page_title="Transactions · Sagascope")
    render("transactions-title", h("h1", "Transactions", cls="page-title"))
    filters = _read_filters(Filters.parse(st.query_params.to_dict()))
    render("transactions-chips", chips(filters))
    _live_content(filters)
    download_button(
        "Download as CSV",
        lambda: as_csv(data.all_sagas(filters)),
        file_name="transactions.csv",
        mime="text/csv",
        key="transactions-csv",
        tooltip=f"Every transaction that matches the filters, {data.MAX_CSV_ROWS:,} at most",
    )


def _read_filters(filters: Filters) -> Filters:
    """Renders the filters; what the reader selects goes to the URL."""
    options = filter_options(data.flows().value, data.services().value)
    # Streamlit forgets the fields of a page that was left.
    if st.session_state.get("applied-filters") != filters or "filter-status" not in st.session_state:
        for field in fields(filters):
            st.session_state[f"filter-{field.name}"] = getattr(filters, field.name)
    with st.container(key="filters", horizontal=True):
        chosen = filters.with_changes(**_changed(filters, _widgets(options)))
    st.session_state["applied-filters"] = chosen
    if chosen != filters:
        st.query_params.from_dict(chosen.query())
    return chosen


def _widgets(options: FilterOptions) -> dict[str, str]:
    chosen = {
        "status": _select("status", "Status", list(_OPTION_LABELS["status"])),
        "attention": _select("attention", "Attention", list(_OPTION_LABELS["attention"])),
        "name": _select("name", "Type", ["", *options.names]),
        "service": _select("service", "Service", ["", *options.services]),
        "since": _select("since", "Started", list(_OPTION_LABELS["since"])),
    }
    step = st.text_input("Step", key="filter-step", placeholder="Any step")
    if len(options.environments) > 1:
        chosen["environment"] = _select("environment", "Environment", ["", *options.environments])
    return {**chosen, "step": step.strip()}


def _select(field: str, label: str, options: list[str]) -> str:
    now = st.session_state[f"filter-{field}"]
    words = _OPTION_LABELS.get(field, {"": "Any"})
    chosen = st.selectbox(
        label,
        options if now in options else [*options, now],
        key=f"filter-{field}",
        format_func=lambda option: words.get(option, option),
    )
    return str(chosen)


def _changed(filters: Filters, chosen: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in chosen.items() if getattr(filters, name) != value}


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content(filters: Filters) -> None:
    if listed := error_states.current("transactions", data.sagas(filters)):
        render("transactions", *content(transactions(listed, filters, _nothing_found_reason(filters, listed))))


def _nothing_found_reason(filters: Filters, listed: schemas.Sagas) -> str | None:
    if not filters.q or listed.items:
        return None
    result = data.search(filters.q).value
    return result.reason if result else None
