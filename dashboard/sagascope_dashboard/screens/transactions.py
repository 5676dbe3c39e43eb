"""Transactions: filter, sort, page through."""

from datetime import datetime

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.charts import choose_started
from sagascope_dashboard.components.elements import (
    Element,
    download_button,
    empty_state,
    h,
    link,
    render,
    value_or_error,
)
from sagascope_dashboard.components.lists import chips, read_filters
from sagascope_dashboard.formatting import plural
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.services import deployments
from sagascope_dashboard.viewmodels.transactions import as_csv, empty_text, limit_text, saga_table, sorted_by

FILTER_FIELDS = ("status", "attention", "name", "service", "since", "step", "amount", "environment", "sort")


def page() -> None:
    """Renders the list with the filters of the URL."""
    render("transactions-title", h("h1", "Transactions", cls="page-title"))
    filters = read_filters(FILTER_FIELDS)
    render("transactions-chips", chips(filters, FILTER_FIELDS, Filters.href))
    _live_list(filters)
    csv_button(filters, "transactions")


def csv_button(filters: Filters, name: str) -> None:
    """Renders a button that downloads the transactions that match the filters."""
    download_button(
        "Download all as CSV",
        lambda: as_csv(data.all_sagas(filters)),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"{name}-csv",
        tooltip=f"Every transaction that matches the filters, {data.MAX_CSV_ROWS:,} at most",
    )


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_list(filters: Filters) -> None:
    listed = value_or_error("transactions", data.sagas(filters))
    if listed is None:
        return
    now, counts = data.local_now(), data.counts(filters, filters.window(data.now())).value
    render("transactions-total", _total(listed, filters, counts, now))
    chosen = None
    if listed.items:
        deployed = deployments(data.services().value)
        chosen = choose_started(counts, filters, filters.href(), deployed) if counts else None
        table = saga_table(listed.items, filters, now)
        chosen = lists.choose("Transactions", table, lambda title: sorted_by(filters, title).href()) or chosen
    render("transactions", pager(listed, filters), go=chosen)


def _total(listed: schemas.Sagas, filters: Filters, counts: schemas.Counts | None, now: datetime) -> Element:
    limit = h("p", text, cls="muted") if (text := limit_text(listed, now)) else None
    if not listed.items:
        nothing = data.search(filters.q).value if filters.q else None
        return h("div", empty_state(empty_text(filters, nothing)), limit, _unassigned(nothing))
    return h("div", h("p", h("strong", plural(counts.total, "transaction")), cls="muted") if counts else None, limit)


def _unassigned(nothing: schemas.SearchResult | None) -> Element | None:
    """Builds what has the searched value and belongs to no transaction; None without any."""
    found = nothing.unassigned if nothing else None
    if found is None:
        return None
    text = f"{plural(found.spans, 'span')} with this value in {found.attribute}. A rule of --mapping that takes them:"
    return h("div", h("p", text), h("pre", found.rule, tabindex=0))


def pager(listed: schemas.Sagas, filters: Filters) -> Element | None:
    """Builds the links to the first and to the next page of the list; None on its only page."""
    targets = {"First page": "" if filters.cursor else None, "Next page": listed.next_cursor}
    links = [
        link(filters.with_changes(cursor=cursor).href(), name, cls="action")
        for name, cursor in targets.items()
        if cursor is not None
    ]
    return h("nav", links, cls="pager", aria_label="Pages") if links else None
