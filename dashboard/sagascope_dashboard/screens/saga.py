"""One saga: the answer card, the timeline, and the tables behind them."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.answer_card import (
    MAX_PLAN_STEPS,
    anomalies,
    answer_card,
    attempts,
    ledger,
    plan,
    record,
)
from sagascope_dashboard.components.elements import (
    download_button,
    h,
    link_buttons,
    message,
    notice,
    render,
    render_sequence,
    render_timeline,
    tab_list,
    value_or_error,
)
from sagascope_dashboard.export import as_html, file_name, markdown
from sagascope_dashboard.urls import SagaAddress, links
from sagascope_dashboard.viewmodels.records import (
    LEVELS,
    TreeSpan,
    log_key,
    log_rows,
    log_view,
    own_logs,
    sequence,
    span_rows,
    span_tree,
    span_view,
)
from sagascope_dashboard.viewmodels.saga import MAX_STEPS_IN_FULL, SagaView, every_step, saga_view, with_steps
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

UNFOLDED_KEY = "saga-unfolded"
"""Which steps of which saga the reader has unfolded, by `step_id`."""

ALL_SPANS = "spans"
"""The entry among the unfolded steps that is there once the reader has asked for all spans."""

FILTER_KEY = "saga-steps"

ATTEMPTS_TAB, LOGS_TAB, SPANS_TAB = "attempts", "logs", "spans"

OPEN_TAB_KEY = "saga-open-tab"
"""The open one of the tabs with records."""

CHOSEN_LOG_KEY = "saga-chosen-log"
"""The chosen log line, by `log_key`."""

CHOSEN_SPAN_KEY = "saga-chosen-span"
"""The chosen span, by `TreeSpan.key`; as in a log line's key, its span id comes second."""

SUMMARY_ONLY_TEXT = "It completed long ago: only this summary is kept; its records were deleted."


def page() -> None:
    """Renders the saga that the URL names."""
    address = _address(st.query_params.to_dict())
    if address is None:
        render("saga-which", message("Which transaction?", "Type its id above."))
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
    saga = value_or_error("saga", data.saga(address))
    if saga is None:
        return
    unfolded, filter_text = _unfolded(address), str(st.session_state.get(FILTER_KEY) or "").strip()
    view = saga_view(saga, unfolded, filter_text)
    copied = markdown(view, _page_url(address))
    render("saga-answer", *answer_card(view, copied))
    picture = _steps(saga, view)
    # each part that varies has a container: a place never holds now an element, now a container (ADR 14)
    with st.container():
        if saga.shrunk:
            render("saga-summary-only", notice(SUMMARY_ONLY_TEXT, role="status"))
        if offsets := clock_offsets(saga):
            _clock_notice(describe_offsets(offsets))
    shown = with_steps(saga, filter_text)
    with st.container():
        if picture == SEQUENCE:
            _sequence(saga, shown)
        else:
            render_timeline("saga-timeline", _layout(shown, unfolded), lambda step: _toggle(unfolded, step))
    render("saga-ledger", ledger(view), anomalies(view))
    _tables(saga, view, unfolded)
    link_buttons(links(data.link_templates(), saga))


def _unfolded(address: SagaAddress) -> set[str]:
    """Returns the steps that the reader has unfolded on this page."""
    known: tuple[SagaAddress, set[str]] | None = st.session_state.get(UNFOLDED_KEY)
    if known is None or known[0] != address:
        known = st.session_state[UNFOLDED_KEY] = (address, set())
    return known[1]


def _toggle(unfolded: set[str], step: str) -> None:
    """Unfolds a step, or folds it again; `ALL_SPANS` likewise. With an empty text, folds all steps."""
    if step:
        unfolded ^= {step}
    else:
        unfolded &= {ALL_SPANS}


TIMELINE, SEQUENCE = "Timeline", "Sequence"


def _steps(saga: schemas.Saga, view: SagaView) -> str:
    """Renders the plan, and for many steps a field that filters them; returns which picture the reader wants."""
    render("saga-plan", plan(view, MAX_PLAN_STEPS))
    with st.container(key="saga-timeline-head", horizontal=True, vertical_alignment="center"):
        picture = st.segmented_control(
            "Picture", [TIMELINE, SEQUENCE], default=TIMELINE, key="saga-picture", label_visibility="collapsed"
        )
        if max(len(saga.steps), len(saga.plan.steps)) > MAX_STEPS_IN_FULL:
            st.text_input("Filter steps", key=FILTER_KEY, placeholder="Filter steps", label_visibility="collapsed")
    return str(picture or TIMELINE)


def _sequence(saga: schemas.Saga, shown: schemas.Saga) -> None:
    """Renders which service called which, and the chosen span in full."""

    def choose(key: str) -> None:
        st.session_state[CHOSEN_SPAN_KEY] = key

    timed = _timed(saga)
    render_sequence("saga-sequence", sequence(timed, {span.span_id for span in shown.spans}), choose)
    chosen = st.session_state.get(CHOSEN_SPAN_KEY)
    span = next((each for each in timed.spans if TreeSpan(each, 0).key == chosen), None)
    render("saga-sequence-span", record(span_view(span), on_timeline=False) if span else None)


def _timed(saga: schemas.Saga) -> schemas.Saga:
    """Returns the saga by corrected clocks unless the reader wants the original times."""
    return saga if st.session_state.get(RAW_TIMES_KEY) else adjust_clocks(saga, clock_offsets(saga))


def _layout(saga: schemas.Saga, unfolded: Collection[str]) -> Timeline:
    instances = instances_by_name(data.services().value)
    return timeline(_timed(saga), instances, unfolded, _chosen_spans(), all_spans=ALL_SPANS in unfolded)


def _chosen_spans() -> set[str]:
    """Returns the spans of the chosen log line and span: the reader may ask to see them on the timeline."""
    keys = (st.session_state.get(CHOSEN_LOG_KEY), st.session_state.get(CHOSEN_SPAN_KEY))
    return {str(json.loads(key)[1]) for key in keys if key}


def _clock_notice(text: str) -> None:
    """Renders the notice that times were corrected, with a switch for the original times."""
    render("saga-clocks", notice(f"{text[:1].upper()}{text[1:]}.", role="status"))
    st.toggle("Show the original times of each service's clock", key=RAW_TIMES_KEY)


def _page_url(address: SagaAddress) -> str:
    """Returns the URL of the page in the reader's browser."""
    return f"{(st.context.url or '').partition('/saga')[0].rstrip('/')}{address.href()}"


def _tables(saga: schemas.Saga, view: SagaView, unfolded: set[str]) -> None:
    """Renders the tabs with records, and the content of the open one.

    They are not `st.tabs`, which opens the first again when the label of the open one changes, here with each record.
    """
    lines = own_logs(saga.logs)
    counts = {ATTEMPTS_TAB: view.attempts_total, LOGS_TAB: len(lines), SPANS_TAB: saga.spans_total}
    opened = st.session_state.setdefault(OPEN_TAB_KEY, ATTEMPTS_TAB)
    labels = {name: f"{name.capitalize()} ({count:,})" for name, count in counts.items()}
    render("saga-tabs", tab_list("Records", labels, opened), on_choice=_open_tab)
    for name in counts:
        with st.container():
            if name != opened:
                continue
            if name == LOGS_TAB:
                _logs(saga, lines)
            elif name == SPANS_TAB:
                _spans(saga)
            else:
                render("saga-attempts", attempts(view), on_choice=lambda step: _toggle(unfolded, step))


def _open_tab(name: str) -> None:
    st.session_state[OPEN_TAB_KEY] = name


def _logs(saga: schemas.Saga, lines: Sequence[schemas.Log]) -> None:
    """Renders the services' own log lines, and the chosen one in full, from which the reader gets to its span."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level = st.segmented_control("Level", list(LEVELS), default="All", key="saga-log-level")
        text = st.text_input("Filter lines", key="saga-log-text", placeholder="Text, service or attribute").strip()
    shown = own_logs(lines, LEVELS[str(level or "All")], text)
    _cut("saga-logs", len(saga.logs), saga.logs_total, "records")
    table, full = st.columns(TABLE_AND_RECORD_WIDTHS)
    with table:
        _choose("saga-logs", log_rows(shown), [log_key(log) for log in shown], CHOSEN_LOG_KEY)
    chosen = next((log for log in shown if log_key(log) == st.session_state.get(CHOSEN_LOG_KEY)), None)
    span = chosen and next((each for each in span_tree(saga.spans) if each.span.span_id == chosen.span_id), None)
    with full:
        shown_record = record(log_view(chosen), span.key if span else "") if chosen else SELECT_ROW
        render("saga-log", shown_record, on_choice=_show_span)


TABLE_AND_RECORD_WIDTHS = (5, 3)
"""The widths of a table and of the record that is chosen in it."""

SELECT_ROW = h("p", "Select a row to see all of it.", cls="muted")


def _show_span(key: str) -> None:
    st.session_state[CHOSEN_SPAN_KEY] = key
    st.session_state["saga-span-text"] = ""
    _open_tab(SPANS_TAB)


def _spans(saga: schemas.Saga) -> None:
    """Renders the spans as a tree, and the chosen one in full."""
    text = st.text_input("Filter spans", key="saga-span-text", placeholder="Name, service or attribute").strip()
    _cut("saga-spans", len(saga.spans), saga.spans_total, "spans")
    tree = span_tree(saga.spans, text)
    chosen = next((each for each in tree if each.key == st.session_state.get(CHOSEN_SPAN_KEY)), None)
    table, full = st.columns(TABLE_AND_RECORD_WIDTHS)
    with table:
        _choose("saga-spans", span_rows(tree), [each.key for each in tree], CHOSEN_SPAN_KEY)
    with full:
        render("saga-span", record(span_view(chosen.span)) if chosen else SELECT_ROW)


def _cut(key: str, shown: int, total: int, noun: str) -> None:
    cut = h("p", f"Of the first {shown:,} of {total:,} {noun}.", cls="muted") if shown < total else None
    render(f"{key}-cut", cut)


def _choose(key: str, rows: list[dict[str, Any]], identities: Sequence[str], chosen_key: str) -> None:
    """Renders a table of records; a row that is selected becomes the chosen one."""

    def on_select() -> None:
        selected = st.session_state[key].selection.rows
        st.session_state[chosen_key] = identities[selected[0]] if selected else None

    column = st.column_config.DatetimeColumn(format="HH:mm:ss.SSS", timezone=data.zone())
    wide = st.column_config.Column(width=300)
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height=lists.height(len(rows)),
        row_height=lists.ROW_PIXELS,
        placeholder="",
        column_config={"At": column, "Started": column, "Text": wide, "Span": wide},
        on_select=on_select,
        selection_mode="single-row",
        alt="Spans" if "spans" in key else "Log lines",
    )


def _saved_page(address: SagaAddress) -> str:
    """Returns the saga as an HTML file, as it was received last."""
    result = data.saga(address)
    if result.value is None:
        raise result.error or LookupError(address)
    return as_html(result.value, _layout(result.value, every_step(result.value)), result.fetched_at)
