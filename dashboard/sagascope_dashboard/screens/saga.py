"""One saga: the answer, the timeline, and everything behind them."""

from collections.abc import Mapping

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.answer_card import anomalies, answer, attempts, ledger
from sagascope_dashboard.components.elements import h, icon
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.components.renderer import timeline as draw_timeline
from sagascope_dashboard.export import as_html, file_name, markdown
from sagascope_dashboard.formatting import utc_note
from sagascope_dashboard.urls import SagaAddress, links
from sagascope_dashboard.viewmodels.saga import Saga, log_rows, saga, span_rows
from sagascope_dashboard.viewmodels.timeline import Timeline, adjusted, describe, living, offsets, timeline
from sagascope_dashboard.viewmodels.transactions import searched

RAW = "saga-raw-times"

SHRUNK = "It completed long ago: its records were removed, and this summary was kept."


def draw() -> None:
    """The saga that the address names."""
    address = _address(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Transaction · Sagascope")
        render("saga-which", h("section", h("h1", "Which transaction?"), h("p", "Type its id above."), cls="trouble"))
        return
    st.set_page_config(page_title=f"{address.id[:60]} · Sagascope")
    _live(address)


def _address(query: Mapping[str, str]) -> SagaAddress | None:
    """Which saga an address means; of an id without a name, the only one that has it."""
    found = data.search(query["id"]).value if query.get("id") and not query.get("name") else None
    return (found and searched(found)) or SagaAddress.read(query)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(address: SagaAddress) -> None:
    reading = data.saga(address)
    if reading.value is None:
        error_states.none_to_show("saga-trouble", reading)
        return
    error_states.outdated("saga-outdated", reading)
    whole, shown = reading.value, saga(reading.value)
    by = offsets(whole)
    told = whole if st.session_state.get(RAW) else adjusted(whole, by)
    lanes = timeline(told, living(data.services().value))
    copied = markdown(shown, _here(address))
    render(
        "saga-answer",
        *answer(shown, copied, utc_note(st.context.timezone_offset)),
        h("h2", "The timeline", cls="section"),
    )
    if whole.shrunk:
        render("saga-shrunk", h("p", icon("mark"), h("span", SHRUNK), cls="notice", role="status"))
    if by:
        _clocks(describe(by))
    draw_timeline("saga-timeline", lanes)
    render("saga-holds", ledger(shown), anomalies(shown))
    _tables(whole, shown)
    _elsewhere(whole, lanes)


def _clocks(said: str) -> None:
    """That times were corrected is said, and can be taken back."""
    render(
        "saga-clocks", h("p", icon("mark"), h("span", f"{said[:1].upper()}{said[1:]}."), cls="notice", role="status")
    )
    st.toggle("Show times as each service's clock told them", key=RAW)


def _here(address: SagaAddress) -> str:
    """The page's own link, as the reader's browser knows it."""
    return f"{(st.context.url or '').partition('/saga')[0].rstrip('/')}{address.href()}"


def _tables(whole: schemas.Saga, shown: Saga) -> None:
    names = [f"Attempts ({shown.tried:,})", f"Logs ({whole.logs_total:,})", f"Spans ({whole.spans_total:,})"]
    tried, logs, spans = st.tabs(names, on_change="rerun", key="saga-tables")
    # Only the table that is looked at is made.
    if tried.open:
        with tried:
            render("saga-attempts", attempts(shown))
    if logs.open:
        with logs:
            _frame("saga-logs", log_rows(whole.logs), whole.logs_total)
    if spans.open:
        with spans:
            _frame("saga-spans", span_rows(whole.spans), whole.spans_total)


def _frame(key: str, rows: list[dict[str, object]], total: int) -> None:
    if len(rows) < total:
        render(f"{key}-cut", h("p", f"The first {len(rows):,} of {total:,}.", cls="soft"))
    column = st.column_config.DatetimeColumn(format="HH:mm:ss.SSS", timezone=st.context.timezone)
    st.dataframe(rows, key=key, hide_index=True, column_config={"At": column, "Started": column})


def _elsewhere(whole: schemas.Saga, lanes: Timeline) -> None:
    """As a file, and in other tools."""
    with st.container(horizontal=True):
        st.download_button(
            "Save as one HTML file",
            lambda: as_html(whole, lanes, data.now()),
            file_name=file_name(whole),
            mime="text/html",
            on_click="ignore",
            key="saga-save",
        )
        for each in links(data.links(), whole):
            st.link_button(f"Open in {each.name}", each.url)
