"""Flows: the transaction types."""

from collections.abc import Sequence

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.urls import FlowAddress
from sagascope_dashboard.viewmodels.flows import (
    Between,
    Flow,
    FlowRow,
    PathRow,
    Period,
    StatusShare,
    Step,
    Window,
    flow,
    flows,
)

STEPS = ("Step", "Started", "Failed", "Retried", "Compensated", "In flight", "p50", "p95", "p99")
BETWEEN = ("From the end of one to the start of the next", "Transitions", "p50", "p95", "p99")
PATH_COLUMNS = ("Path of those that ended", "Transactions", "Of all", "Completed", "The latest")
PERIOD_COLUMNS = ("From", "Ended", "Failed", "p50", "p95", "p99")


def flow_page(known: Flow) -> list[Element | None]:
    """The whole screen."""
    where = h("span", f" in {known.environment}", cls="soft") if known.environment else None
    head = h("header", h("h1", known.name, where, cls="page-title"), link(known.list_href, "Its transactions"))
    return [
        h("div", head, _windows(known.windows), cls="flow-head"),
        *_steps(known.steps),
        _between(known.between),
        _paths(known.paths),
    ]


def _windows(windows: Sequence[Window]) -> Element:
    choices = [
        h("li", link(window.href, f"last {window.word}", aria_current="true" if window.chosen else None))
        for window in windows
    ]
    return h("nav", h("ul", choices, cls="choices"), aria_label="How far back")


def _steps(steps: Sequence[Step]) -> list[Element]:
    if not steps:
        return [h("p", "No step of it was seen in this time.", cls="nothing", role="status")]
    head = h("tr", [h("th", title, scope="col") for title in STEPS])
    table = h("table", h("thead", head), h("tbody", [_row(step) for step in steps]), cls="table cards")
    over = [_over_time(step) for step in steps]
    return [
        h("section", h("h2", "How many get through, and how fast"), h("div", table, cls="scroll"), cls="section"),
        h("section", h("h2", "Over time"), over, cls="section trends"),
    ]


def _row(step: Step) -> Element:
    bar = h("div", h("span", cls="piece work", data_share=round(step.share, 1)), _rest(step.share), cls="share")
    return h(
        "tr",
        h("td", h("b", link(step.href, step.name)), h("div", step.kind, cls="soft") if step.kind else None, cls="wide"),
        h("td", f"{step.started:,}", bar, cls="num"),
        _figure("failed", step.failed),
        _figure("retried", step.retried),
        _figure("compensated", step.compensated),
        _figure("in flight", f"{step.in_flight:,}" if step.in_flight else ""),
        _figure("p50", step.p50),
        _figure("p95", step.p95),
        _figure("p99", step.p99),
        data_key=f"{step.name} {step.kind}",
    )


def _between(known: Sequence[Between]) -> Element | None:
    if not known:
        return None
    head = h("tr", [h("th", title, scope="col") for title in BETWEEN])
    rows = [
        h(
            "tr",
            h("td", h("b", each.before), " to ", h("b", each.after), h("div", each.trend, cls="soft"), cls="wide"),
            h("td", f"{each.number:,}", cls="num"),
            _figure("p50", each.p50),
            _figure("p95", each.p95),
            _figure("p99", each.p99),
            data_key=f"{each.before} to {each.after}",
        )
        for each in known
    ]
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("section", h("h2", "Between steps"), h("div", table, cls="scroll"), cls="section")


def _paths(known: Sequence[PathRow]) -> Element | None:
    if not known:
        return None
    head = h("tr", [h("th", title, scope="col") for title in PATH_COLUMNS])
    rows = [
        h(
            "tr",
            h("td", h("b", "; ".join(each.differs) or "Usual path"), h("div", each.steps, cls="soft"), cls="wide"),
            h("td", link(each.href, each.number), cls="num"),
            _figure("of all", each.share),
            _figure("completed", each.completed),
            h("td", link(each.newest_href, each.newest, cls="ident")),
            data_key=each.key,
        )
        for each in known
    ]
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("section", h("h2", "Paths"), h("div", table, cls="scroll"), cls="section")


def _figure(what: str, value: str) -> Element:
    """A cell; where cells stand without their heads, on a small screen, it says what it is."""
    return (
        h("td", h("span", value, cls="num"), h("span", f" {what}", cls="soft narrow"), cls="num") if value else h("td")
    )


def _rest(share: float) -> Element:
    return h("span", cls="left", data_share=round(100 - share, 1))


def _over_time(step: Step) -> Element:
    columns = h("span", [_column(part) for part in step.parts], cls="columns", aria_hidden="true")
    head = h("tr", [h("th", title, scope="col") for title in PERIOD_COLUMNS])
    rows = [_period(part) for part in step.parts if part.ended]
    table = h("table", h("thead", head), h("tbody", rows), cls="table")
    name = h("span", h("b", step.name), h("span", step.trend, cls="soft"), cls="trend-name")
    return h(
        "details",
        h("summary", name, columns),
        h("div", table, cls="scroll", tabindex="0", role="region", aria_label=f"{step.name} over time"),
        cls="trend",
        data_key=f"{step.name} {step.kind}",
    )


def _column(part: Period) -> Element:
    tone = "alarm" if part.marked else "work"
    height = round(part.height, 1)
    return h("span", h("span", data_share=100 - height), h("span", cls=f"fill {tone}", data_share=height), cls="column")


def _period(part: Period) -> Element:
    return h(
        "tr",
        h("td", time(part.at), cls="num"),
        h("td", f"{part.ended:,}", cls="num"),
        [h("td", value, cls="num") for value in (part.failed, part.p50, part.p95, part.p99)],
        data_key=part.at.isoformat(),
    )


def flows_page(known: Sequence[FlowRow]) -> list[Element]:
    """The whole screen."""
    title = h("h1", "Flows", cls="page-title")
    if not known:
        words = "No transaction has been received yet. Their types appear here by themselves."
        return [title, h("p", words, cls="nothing", role="status")]
    return [title, h("div", [_flow_row(flow) for flow in known], cls="flows")]


def _flow_row(flow: FlowRow) -> Element:
    name = link(flow.href, flow.name, f" in {flow.environment}" if flow.environment else None)
    needed = f"{flow.attention:,} {'needs' if flow.attention == 1 else 'need'} attention"
    return h(
        "section",
        h("header", h("h2", name), h("span", f"{flow.total:,} in all", cls="soft"), _attention_badge(flow, needed)),
        h("div", [_status_share(part) for part in flow.parts if part.number], cls="share", aria_hidden="true"),
        h("ul", [_status_count(part) for part in flow.parts], cls="counts"),
        cls="flow",
        data_key=flow.key,
    )


def _attention_badge(flow: FlowRow, words: str) -> Element | None:
    return link(flow.attention_href, icon("mark"), words, cls="badge alarm") if flow.attention else None


def _status_share(part: StatusShare) -> Element:
    return h("span", cls=f"piece {part.sign.tone}", data_share=round(part.share, 1))


def _status_count(part: StatusShare) -> Element:
    words = (icon(part.sign.icon), h("strong", f"{part.number:,}"), part.sign.word.lower())
    return h("li", link(part.href, *words, cls=part.sign.tone))


def draw_flows() -> None:
    """Every transaction type, and how theirs stand."""
    st.set_page_config(page_title="Flows · Sagascope")
    _flows_live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _flows_live() -> None:
    known = data.flows()
    if known.value is None:
        error_states.none_to_show("flows-trouble", known)
        return
    error_states.outdated("flows-outdated", known)
    render("flows", *flows_page(flows(known.value)))


def draw_flow() -> None:
    """The type that the address names."""
    address = FlowAddress.read(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Flow · Sagascope")
        render("flow-which", h("section", h("h1", "Which flow?"), h("p", "Choose one under Flows."), cls="trouble"))
        return
    st.set_page_config(page_title=f"{address.name[:60]} · Sagascope")
    _flow_live(address)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _flow_live(address: FlowAddress) -> None:
    known = data.flow(address)
    if known.value is None:
        error_states.none_to_show("flow-trouble", known, "flow")
        return
    error_states.outdated("flow-outdated", known)
    render("flow", *flow_page(flow(known.value, address, known.at)))
