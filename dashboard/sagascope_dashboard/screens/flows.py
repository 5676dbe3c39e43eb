"""Flows: the transaction types, and one type step by step."""

from collections.abc import Sequence

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, h, icon, link, message, table, table_section, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.urls import FlowAddress
from sagascope_dashboard.viewmodels.flows import (
    Flow,
    FlowRow,
    PathRow,
    Period,
    StatusShare,
    Step,
    Transition,
    Window,
    flow,
    flows,
)

STEP_COLUMNS = ("Step", "Started", "Failed", "Retried", "Compensated", "In flight", "p50", "p95", "p99")
TRANSITION_COLUMNS = ("From the end of one step to the start of the next", "Transitions", "p50", "p95", "p99")
PATH_COLUMNS = ("Path of ended transactions", "Transactions", "Share", "Completed", "Latest")
PERIOD_COLUMNS = ("Start", "Ended", "Failed", "p50", "p95", "p99")


def flow_content(known: Flow) -> list[Element | None]:
    """Builds the whole screen."""
    where = h("span", f" in {known.environment}", cls="muted") if known.environment else None
    head = h("header", h("h1", known.name, where, cls="page-title"), link(known.list_href, "Its transactions"))
    return [
        h("div", head, _windows(known.windows), cls="flow-head"),
        *_steps(known.steps),
        _transitions(known.transitions),
        _paths(known.paths),
    ]


def _windows(windows: Sequence[Window]) -> Element:
    choices = [
        h("li", link(window.href, f"last {window.label}", aria_current="true" if window.is_selected else None))
        for window in windows
    ]
    return h("nav", h("ul", choices, cls="choices"), aria_label="Window")


def _steps(steps: Sequence[Step]) -> list[Element]:
    if not steps:
        return [h("p", "No step was received in this window.", cls="empty-state", role="status")]
    over = [_step_over_time(step) for step in steps]
    return [
        table_section("Steps", STEP_COLUMNS, map(_row, steps)),
        h("section", h("h2", "Over time"), over, cls="section trends"),
    ]


def _row(step: Step) -> Element:
    bar = h(
        "div", h("span", cls="segment work", data_share=round(step.share, 1)), _remaining_share(step.share), cls="share"
    )
    return h(
        "tr",
        h(
            "td",
            h("b", link(step.href, step.name)),
            h("div", step.kind, cls="muted") if step.kind else None,
            cls="wide",
        ),
        h("td", f"{step.started:,}", bar, cls="num"),
        _figure("failed", step.failed),
        _figure("retried", step.retried),
        _figure("compensated", step.compensated),
        _figure("in flight", f"{step.in_flight:,}" if step.in_flight else ""),
        *_percentiles(step.percentiles),
        data_key=f"{step.name} {step.kind}",
    )


def _transitions(known: Sequence[Transition]) -> Element | None:
    if not known:
        return None
    rows = [
        h(
            "tr",
            h("td", h("b", each.before), " to ", h("b", each.after), h("div", each.trend, cls="muted"), cls="wide"),
            h("td", f"{each.count:,}", cls="num"),
            *_percentiles(each.percentiles),
            data_key=f"{each.before} to {each.after}",
        )
        for each in known
    ]
    return table_section("Transition steps", TRANSITION_COLUMNS, rows)


def _paths(known: Sequence[PathRow]) -> Element | None:
    if not known:
        return None
    rows = [
        h(
            "tr",
            h("td", h("b", "; ".join(each.differs) or "Usual path"), h("div", each.steps, cls="muted"), cls="wide"),
            h("td", link(each.href, each.count), cls="num"),
            _figure("share", each.share),
            _figure("completed", each.completed),
            h("td", link(each.newest_href, each.newest, cls="id")),
            data_key=each.key,
        )
        for each in known
    ]
    return table_section("Paths", PATH_COLUMNS, rows)


def _percentiles(durations: Sequence[str]) -> list[Element]:
    return [_figure(name, value) for name, value in zip(("p50", "p95", "p99"), durations, strict=True)]


def _figure(column: str, value: str) -> Element:
    """Builds a cell; on a narrow screen, which has no table head, the cell names its column."""
    if not value:
        return h("td")
    return h("td", h("span", value, cls="num"), h("span", f" {column}", cls="muted only-narrow"), cls="num")


def _remaining_share(share: float) -> Element:
    return h("span", cls="remaining", data_share=round(100 - share, 1))


def _step_over_time(step: Step) -> Element:
    columns = h("span", [_period_bar(period) for period in step.periods], cls="columns", aria_hidden="true")
    periods = table(PERIOD_COLUMNS, [_period(period) for period in step.periods if period.ended], "table")
    name = h("span", h("b", step.name), h("span", step.trend, cls="muted"), cls="trend-name")
    return h(
        "details",
        h("summary", name, columns),
        h("div", periods, cls="scroll", tabindex="0", role="region", aria_label=f"{step.name} over time"),
        cls="trend",
        data_key=f"{step.name} {step.kind}",
    )


def _period_bar(period: Period) -> Element:
    tone = "alarm" if period.is_failing else "work"
    height = round(period.height, 1)
    return h("span", h("span", data_share=100 - height), h("span", cls=f"fill {tone}", data_share=height), cls="column")


def _period(period: Period) -> Element:
    return h(
        "tr",
        h("td", time(period.at), cls="num"),
        h("td", f"{period.ended:,}", cls="num"),
        [h("td", value, cls="num") for value in (period.failed, *period.percentiles)],
        data_key=period.at.isoformat(),
    )


def flows_content(known: Sequence[FlowRow]) -> list[Element]:
    """Builds the whole screen."""
    title = h("h1", "Flows", cls="page-title")
    if not known:
        words = "No transaction has been received yet. Their types appear here on their own."
        return [title, h("p", words, cls="empty-state", role="status")]
    return [title, h("div", [_flow_row(flow) for flow in known], cls="flows")]


def _flow_row(flow: FlowRow) -> Element:
    name = link(flow.href, flow.name, f" in {flow.environment}" if flow.environment else None)
    attention = f"{flow.attention:,} {'needs' if flow.attention == 1 else 'need'} attention"
    return h(
        "section",
        h(
            "header",
            h("h2", name),
            h("span", f"{flow.total:,} in total", cls="muted"),
            _attention_badge(flow, attention),
        ),
        h("div", [_status_share(status) for status in flow.statuses if status.count], cls="share", aria_hidden="true"),
        h("ul", [_status_count(status) for status in flow.statuses], cls="counts"),
        cls="flow",
        data_key=flow.key,
    )


def _attention_badge(flow: FlowRow, text: str) -> Element | None:
    return link(flow.attention_href, icon("mark"), text, cls="badge alarm") if flow.attention else None


def _status_share(status: StatusShare) -> Element:
    return h("span", cls=f"segment {status.style.tone}", data_share=round(status.share, 1))


def _status_count(status: StatusShare) -> Element:
    texts = (icon(status.style.icon), h("strong", f"{status.count:,}"), status.style.label.lower())
    return h("li", link(status.href, *texts, cls=status.style.tone))


def flows_page() -> None:
    """Renders every transaction type with its counts."""
    st.set_page_config(page_title="Flows · Sagascope")
    _live_flows_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_flows_content() -> None:
    if known := error_states.current("flows", data.flows()):
        render("flows", *flows_content(flows(known)))


def flow_page() -> None:
    """Renders the type that the URL names."""
    address = FlowAddress.parse(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Flow · Sagascope")
        render("flow-which", message("Which flow?", "Choose one under Flows."))
        return
    st.set_page_config(page_title=f"{address.name[:60]} · Sagascope")
    _live_flow_content(address)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_flow_content(address: FlowAddress) -> None:
    result = data.flow(address)
    if known := error_states.current("flow", result, thing="flow"):
        render("flow", *flow_content(flow(known, address, result.fetched_at)))
