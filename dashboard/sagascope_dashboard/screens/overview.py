"""Overview: what needs attention now, and how transactions went over time."""

from datetime import datetime

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.charts import choose_bar, choose_started
from sagascope_dashboard.components.elements import Element, h, icon, link, render, time, value_or_error, window_links
from sagascope_dashboard.components.lists import chips, read_filters
from sagascope_dashboard.formatting import ATTENTION, iso
from sagascope_dashboard.screens.services import notices
from sagascope_dashboard.urls import OVERVIEW, WINDOWS, Filters
from sagascope_dashboard.viewmodels.attention import Count, Summary, Urgent, incident_table, keep_order, summary, urgent
from sagascope_dashboard.viewmodels.services import deployments
from sagascope_dashboard.viewmodels.transactions import saga_table, sorted_by

FILTER_FIELDS = ("attention", "name", "service", "amount", "environment")
COLUMNS = (
    "Transaction",
    "Status",
    "Stuck for",
    "Amount at risk",
    "Summary",
    "Type",
    "Where",
    "Attempts",
    "Keys",
    "Environment",
)
SHOWN_KEYS = "overview-keys"


def page() -> None:
    """Renders what needs attention now, most urgent first, below how transactions went over time."""
    window = st.query_params.get("window", "")
    window = window if window in WINDOWS else "24h"
    kept = {} if window == "24h" else {"window": window}
    st.session_state.pop(SHOWN_KEYS, None)
    above, below = st.container(), st.container()
    with below:  # first, as its fields say what is counted above
        filters = read_filters(FILTER_FIELDS, kept)
        render("overview-chips", chips(filters, FILTER_FIELDS, lambda each: each.href(OVERVIEW, **kept)))
        _live_lists(filters)
    with above:
        _live_summary(filters, window, kept)


@st.fragment(run_every=data.COUNT_INTERVAL_SECONDS)
def _live_summary(filters: Filters, window: str, kept: dict[str, str]) -> None:
    needing = data.counts(_needing(filters), window)
    every = data.counts(filters.of_all(), window)
    if value_or_error("overview", needing, every) is None or needing.value is None or every.value is None:
        return
    shown = summary(needing.value, every.value, data.incidents().value, filters)
    render("overview", notices(data.status().value), _header(shown))
    if not shown.has_received:
        return
    render("overview-windows", window_links(window, lambda each: filters.href(OVERVIEW, window=each)))

    def stuck_href(code: str, start: datetime, end: datetime) -> str:
        times = {"stuck_since": iso(start), "stuck_until": iso(end)}
        return filters.with_changes(attention=code, **times).href(OVERVIEW, **kept)

    left, right = st.columns(2)
    deployed = deployments(data.services().value)
    list_name = filters.href(OVERVIEW, **kept)
    with left:
        by_reason = choose_bar(
            "Stopped making progress, by reason", needing.value, "attention", ATTENTION, stuck_href, list_name, deployed
        )
    with right:
        by_status = choose_started(every.value, filters.of_all(), list_name, deployed)
    render("overview-chosen", _counts(shown.statuses, "All transactions by status"), go=by_reason or by_status)


def _needing(filters: Filters) -> Filters:
    return filters.with_changes(attention=filters.attention or "any")


def _header(shown: Summary) -> Element:
    if shown.is_nothing_urgent:
        return h(
            "header", icon("check"), h("h1", shown.title), h("p", *_calm_text(shown), cls="muted"), cls="no-attention"
        )
    totals = [h("strong", each, cls="amount") for each in shown.amount_at_risk]
    return h(
        "header",
        h("h1", shown.title),
        h("p", totals, cls="row-facts") if totals else None,
        _counts(shown.reasons, "By reason"),
        cls="overview-head",
    )


def _calm_text(shown: Summary) -> list[Element]:
    if not shown.has_received:
        return ["No transaction has been received yet. They appear here on their own."]
    running = sum(count.number for count in shown.statuses[:2])
    state = f"{running:,} running, all within their time limits." if running else "Every transaction has ended."
    if shown.calm_since is None:
        return [state, " None of those stored has needed attention lately."]
    return [state, " No attention has been needed since ", time(shown.calm_since, "full"), "."]


def _counts(counts: tuple[Count, ...], label: str) -> Element | None:
    links = [
        link(
            count.href,
            icon(count.style.icon),
            h("strong", f"{count.number:,}"),
            count.style.label.lower(),
            cls=count.style.tone,
        )
        for count in counts
    ]
    return h("nav", links, cls="counts", aria_label=label) if links else None


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_lists(filters: Filters) -> None:
    sagas = data.urgent_sagas(_needing(filters)).value
    if sagas is None:
        return  # the summary reports the error
    now = urgent(sagas, data.incidents().value, filters)
    stable = keep_order(now, st.session_state.get(SHOWN_KEYS, ()))
    st.session_state[SHOWN_KEYS] = stable.keys
    with st.container():
        render("overview-lists", go=_incidents(stable.shown) or _transactions(stable.shown, filters))
    with st.container():
        if stable.new_rows_text:
            _announce(stable.new_rows_text)


def _incidents(shown: Urgent) -> str | None:
    if not shown.incidents:
        return None
    render("overview-incidents", h("h2", "Incidents", cls="section"))
    return lists.choose("Incidents", incident_table(shown.incidents, data.now()))


def _transactions(shown: Urgent, filters: Filters) -> str | None:
    if not shown.sagas:
        return None
    needing = _needing(filters).with_changes(sort="urgency")
    title = "Transactions that are part of no incident" if shown.incidents else "Transactions, the most urgent first"
    more = link(needing.href(), "All that need attention", cls="action") if shown.has_more else None
    render("overview-transactions", h("h2", title, cls="section"))
    chosen = lists.choose(
        "Transactions that need attention",
        saga_table(shown.sagas, needing, data.local_now(), COLUMNS),
        lambda column: sorted_by(needing, column).href(),
    )
    render("overview-more", h("p", more, cls="pager") if more else None)
    return chosen


def _announce(text: str) -> None:
    """Renders a notice of new rows over the page, so that the rows shown do not move."""
    with st.container(key="overview-news"):
        render("overview-news-text", h("p", text, role="status"))
        st.button("Show", key="overview-show", on_click=lambda: st.session_state.pop(SHOWN_KEYS, None))
