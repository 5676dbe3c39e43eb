"""Transactions: filter, sort, page through."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states, lists
from sagascope_dashboard.components.charts import choose_started
from sagascope_dashboard.components.elements import Element, download_button, empty_state, h, link, render
from sagascope_dashboard.components.lists import chips, read_filters
from sagascope_dashboard.formatting import plural
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.services import deployments
from sagascope_dashboard.viewmodels.transactions import Transactions, as_csv, sorted_by, transactions

FIELDS = ("status", "attention", "name", "service", "since", "step", "amount", "environment", "sort")


def page() -> None:
    """Renders the list with the filters of the URL."""
    render("transactions-title", h("h1", "Transactions", cls="page-title"))
    filters = read_filters(FIELDS)
    render("transactions-chips", chips(filters, Filters.href))
    _live_list(filters)
    csv_button(filters, "transactions")


def csv_button(filters: Filters, name: str) -> None:
    """Renders a button that downloads the transactions that the filters leave."""
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
    listed = error_states.current("transactions", data.sagas(filters))
    if listed is None:
        return
    nothing = data.search(filters.q).value if filters.q and not listed.items else None
    shown = transactions(listed, filters, data.local_now(), nothing)
    counts = data.counts(filters, filters.window(data.now())).value
    render("transactions-total", _total(shown, counts))
    chosen = None
    if not shown.empty_text:
        deployed = deployments(data.services().value)
        chosen = choose_started(counts, filters, filters.href(), deployed) if counts else None
        chosen = lists.choose("Transactions", shown.table, lambda title: sorted_by(filters, title).href()) or chosen
    render("transactions", _pager(shown), go=chosen)


def _total(shown: Transactions, counts: schemas.Counts | None) -> Element:
    limit = h("p", shown.limit_text, cls="muted") if shown.limit_text else None
    if shown.empty_text:
        text = empty_state(shown.empty_text)
        return h("div", text, limit, _unassigned(shown.unassigned))
    return h("div", h("p", h("strong", plural(counts.total, "transaction")), cls="muted") if counts else None, limit)


def _unassigned(found: schemas.Unassigned | None) -> Element | None:
    if found is None:
        return None
    text = f"{plural(found.spans, 'span')} with this value in {found.attribute}. A rule of --mapping that takes them:"
    return h("div", h("p", text), h("pre", found.rule, tabindex=0))


def _pager(shown: Transactions) -> Element | None:
    links = [
        link(shown.first_href, "First page", cls="action") if shown.first_href else None,
        link(shown.next_href, "Next page", cls="action") if shown.next_href else None,
    ]
    return h("nav", links, cls="pager", aria_label="Pages") if any(links) else None
