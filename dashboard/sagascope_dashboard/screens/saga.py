"""One saga: the answer card, the timeline, and the tables behind them."""

from collections.abc import Mapping

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.answer_card import anomalies, answer_card, attempts, ledger
from sagascope_dashboard.components.elements import h, icon
from sagascope_dashboard.components.renderer import download_button, render, render_timeline
from sagascope_dashboard.export import as_html, file_name, markdown
from sagascope_dashboard.formatting import utc_note
from sagascope_dashboard.urls import SagaAddress, links
from sagascope_dashboard.viewmodels.saga import SagaView, log_rows, saga_view, span_rows
from sagascope_dashboard.viewmodels.timeline import (
    Timeline,
    adjust_clocks,
    clock_offsets,
    describe_offsets,
    instances_by_name,
    timeline,
)
from sagascope_dashboard.viewmodels.transactions import only_match

RAW_TIMES_KEY = "saga-raw-times"

SUMMARY_ONLY_TEXT = "It completed long ago: only this summary is kept; its records were deleted."


def page() -> None:
    """Renders the saga that the URL names."""
    address = _address(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Transaction · Sagascope")
        render(
            "saga-which", h("section", h("h1", "Which transaction?"), h("p", "Type its id above."), cls="error-state")
        )
        return
    st.set_page_config(page_title=f"{address.id[:60]} · Sagascope")
    _live_content(address)
    download_button(
        "Save as one HTML file",
        lambda: _saved_page(address),
        file_name=file_name(address),
        mime="text/html",
        key="saga-save",
    )


def _address(query: Mapping[str, str]) -> SagaAddress | None:
    """Returns the saga that a query names; for an id without a name, the only one that has it."""
    match = data.search(query["id"]).value if query.get("id") and not query.get("name") else None
    return (match and only_match(match)) or SagaAddress.parse(query)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content(address: SagaAddress) -> None:
    saga = error_states.current("saga", data.saga(address))
    if saga is None:
        return
    view = saga_view(saga)
    copied = markdown(view, _page_url(address))
    render(
        "saga-answer",
        *answer_card(view, copied, utc_note(st.context.timezone_offset)),
        h("h2", "Timeline", cls="section"),
    )
    if saga.shrunk:
        render("saga-summary-only", h("p", icon("mark"), h("span", SUMMARY_ONLY_TEXT), cls="notice", role="status"))
    if offsets := clock_offsets(saga):
        _clock_notice(describe_offsets(offsets))
    render_timeline("saga-timeline", _layout(saga))
    render("saga-ledger", ledger(view), anomalies(view))
    _tables(saga, view)
    _links_to_other_tools(saga)


def _layout(saga: schemas.Saga) -> Timeline:
    """Returns the timeline, by corrected clocks unless the reader wants the original times."""
    timed = saga if st.session_state.get(RAW_TIMES_KEY) else adjust_clocks(saga, clock_offsets(saga))
    return timeline(timed, instances_by_name(data.services().value))


def _clock_notice(text: str) -> None:
    """Renders the notice that times were corrected, with a switch for the original times."""
    render(
        "saga-clocks", h("p", icon("mark"), h("span", f"{text[:1].upper()}{text[1:]}."), cls="notice", role="status")
    )
    st.toggle("Show the original times of each service's clock", key=RAW_TIMES_KEY)


def _page_url(address: SagaAddress) -> str:
    """Returns the URL of the page in the reader's browser."""
    return f"{(st.context.url or '').partition('/saga')[0].rstrip('/')}{address.href()}"


def _tables(saga: schemas.Saga, view: SagaView) -> None:
    names = [f"Attempts ({view.attempts_total:,})", f"Logs ({saga.logs_total:,})", f"Spans ({saga.spans_total:,})"]
    attempts_tab, logs, spans = st.tabs(names, on_change="rerun", key="saga-tables")
    # Only the open tab is built.
    if attempts_tab.open:
        with attempts_tab:
            render("saga-attempts", attempts(view))
    if logs.open:
        with logs:
            _dataframe("saga-logs", log_rows(saga.logs), saga.logs_total)
    if spans.open:
        with spans:
            _dataframe("saga-spans", span_rows(saga.spans), saga.spans_total)


def _dataframe(key: str, rows: list[dict[str, object]], total: int) -> None:
    if len(rows) < total:
        render(f"{key}-cut", h("p", f"The first {len(rows):,} of {total:,}.", cls="muted"))
    column = st.column_config.DatetimeColumn(format="HH:mm:ss.SSS", timezone=st.context.timezone)
    st.dataframe(rows, key=key, hide_index=True, column_config={"At": column, "Started": column})


def _links_to_other_tools(saga: schemas.Saga) -> None:
    with st.container(horizontal=True):
        for each in links(data.link_templates(), saga):
            st.link_button(f"Open in {each.name}", each.url)


def _saved_page(address: SagaAddress) -> str:
    """Returns the saga as an HTML file, as it was received last."""
    result = data.saga(address)
    if result.value is None:
        raise result.error or LookupError(address)
    return as_html(result.value, _layout(result.value), result.fetched_at)
