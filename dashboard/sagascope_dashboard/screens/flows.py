"""Flows: the transaction types, and one type step by step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import altair as alt
import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.charts import (
    CHART_PIXELS,
    SECONDS_LABEL,
    choose_started,
    contrast_color,
    deployment_marks,
    failure_color,
    graph,
    theme_color,
    time_format,
    time_scale,
    time_tooltip,
)
from sagascope_dashboard.components.elements import (
    Element,
    empty_state,
    h,
    icon,
    link,
    message,
    render,
    time,
    value_or_error,
    window_links,
)
from sagascope_dashboard.formatting import duration, epoch_ms, line
from sagascope_dashboard.urls import Filters, FlowAddress
from sagascope_dashboard.viewmodels.flows import Cell, Flow, Outage, all_or_some, flow, flows
from sagascope_dashboard.viewmodels.services import Deployment, deployments

BUCKET_RATIO = 2**0.25
"""The end of a bucket of durations, divided by its start."""

TICKS_SECONDS = (
    *(each * 10.0**power for power in range(-6, 1) for each in (1, 2, 5)),
    *(10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0),
    *(86_400.0 * days for days in (1, 2, 7, 30, 90, 365)),
)
"""Times that an axis of durations may name."""

MAX_TICKS = 6
"""Times that an axis of durations names, about."""

TRANSACTIONS, ATTEMPTS = "Transactions", "Attempts"

FAILURES_NOTE = {
    TRANSACTIONS: "Of the transactions that reached a step, those that failed at it and did not succeed when retried. "
    "A retry that succeeds in a later period counts for the latest failures before it.",
    ATTEMPTS: "Of all attempts, those that failed: one transaction that retries counts each time.",
}


def flows_page() -> None:
    """Renders every transaction type with its counts."""
    render("flows-title", h("h1", "Flows", cls="page-title"))
    _live_flows_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_flows_content() -> None:
    known = value_or_error("flows", data.flows())
    if known is None:
        return
    empty = "No transaction has been received yet. Their types appear here on their own."
    chosen = lists.choose("Flows", flows(known)) if known.items else None
    render("flows", None if known.items else empty_state(empty), go=chosen)


def flow_page() -> None:
    """Renders the type that the URL names."""
    address = FlowAddress.parse(st.query_params.to_dict())
    if address is None:
        render("flow-which", message("Which flow?", "Choose one under Flows."))
        return
    st.set_page_config(page_title=f"{address.name[:60]} · Sagascope")
    _live_flow_content(address)


@st.fragment(run_every=data.COUNT_INTERVAL_SECONDS)
def _live_flow_content(address: FlowAddress) -> None:
    result = data.flow(address)
    known = value_or_error("flow", result, thing="flow")
    if known is None:
        return
    shown = flow(known, address, result.fetched_at, lambda started: data.counts(started, address.window).value)
    only = Filters(name=address.name, environment=address.environment or "")
    render("flow", head(address, only), *map(_outage, shown.outages))
    if not shown.nodes:
        render("flow-empty", empty_state("No step was received in this window."))
        return
    deployed = deployments(data.services().value)
    _failures(shown, deployed)
    counts = data.counts(only, address.window).value
    chosen = [choose_started(counts, only, f"{only.href()} {address.window}", deployed) if counts else None]
    render("flow-path", h("h2", "Path", cls="section"))
    st.graphviz_chart(graph(shown.nodes, shown.edges), width="stretch", alt="Path")
    _durations(shown, deployed)
    for name, table in (("Steps", shown.steps), ("Paths", shown.paths), ("Transitions", shown.transitions)):
        if table.rows:
            render(f"flow-{name}", h("h2", name, cls="section"))
            chosen.append(lists.choose(name, table))
    render("flow-chosen", go=next(filter(None, chosen), None))


def head(address: FlowAddress, only: Filters) -> Element:
    """Builds the title and the choice of the window."""
    where = h("span", f" in {line(address.environment, 60)}", cls="muted") if address.environment else None
    title = h("h1", line(address.name, 80), where, cls="page-title")
    header = h("header", title, link(only.href(), "Its transactions"))
    windows = window_links(address.window, lambda window: replace(address, window=window).href())
    return h("div", header, windows, cls="flow-head")


def _outage(outage: Outage) -> Element:
    return h(
        "div",
        icon("cross"),
        h("strong", outage.text),
        h("span", "from ", time(outage.since), " to ", time(outage.until)),
        link(outage.href, "Show them"),
        cls="outage total" if outage.is_total else "outage",
        role="alert",
    )


def _failures(known: Flow, deployed: Sequence[Deployment]) -> None:
    render("flow-failures", h("h2", "Failed, by step", cls="section"))
    counted = st.segmented_control(
        "Count", (TRANSACTIONS, ATTEMPTS), default=TRANSACTIONS, key="flow-counted", label_visibility="collapsed"
    )
    counted = counted or TRANSACTIONS
    st.altair_chart(_failure_chart(known, counted, deployed), alt=f"Failed, by step: {counted.lower()}")
    render("flow-failures-note", h("p", FAILURES_NOTE[counted], cls="muted"))


def _failure_chart(known: Flow, counted: str, deployed: Sequence[Deployment]) -> Any:
    """Returns a row for each step and a cell for each period, the more alarming the larger the share that failed."""
    values = [_failure_value(cell, counted) for cell in known.cells]
    steps = list(known.series)
    base = alt.Chart(alt.InlineData(values=[each for each in values if each["of"]])).encode(
        y=alt.Y("step:N", title=None, scale=alt.Scale(domain=steps), axis=alt.Axis(labelLimit=200, labelFontSize=13))
    )
    cells = base.mark_rect(stroke=theme_color("backgroundColor", "#ffffff"), strokeWidth=2, cornerRadius=4).encode(
        x=_time_axis(known),
        x2="end:T",
        color=alt.Color("color:N", scale=None),
        description="text:N",
        tooltip=[alt.Tooltip("text:N", title="Failed"), time_tooltip("at", "From"), time_tooltip("end", "To")],
    )
    numbers = (
        base.transform_filter("datum.failed > 0")
        .mark_text(fontSize=12, fontWeight="bold")
        .encode(x="middle:T", text=alt.Text("failed:Q", format=","), color=alt.Color("ink:N", scale=None))
    )
    marks = deployment_marks(deployed, epoch_ms(known.since), epoch_ms(known.until))
    return alt.layer(cells, numbers, *marks).properties(height=alt.Step(34))


def _failure_value(cell: Cell, counted: str) -> dict[str, Any]:
    failed, of = (cell.failed, cell.reached) if counted == TRANSACTIONS else (cell.failed_attempts, cell.attempts)
    share = failed / of if of else 0.0
    at, end = epoch_ms(cell.at), epoch_ms(cell.end)
    return {
        "step": cell.step,
        "at": at,
        "end": end,
        "middle": (at + end) / 2,
        "failed": failed,
        "of": of,
        "color": failure_color(share),
        "ink": contrast_color(share),
        "text": f"{cell.step}: {failed:,} of {of:,} failed",
    }


def _time_axis(known: Flow) -> alt.X:
    domain = [epoch_ms(known.since), epoch_ms(known.until)]
    axis = alt.Axis(format=time_format(*domain), tickCount=10)
    return alt.X("at:T", title=None, scale=time_scale(domain=domain), axis=axis)


def _durations(known: Flow, deployed: Sequence[Deployment]) -> None:
    render("flow-durations", h("h2", "Durations of one step", cls="section"))
    names = list(known.series)
    slowest = max(names, key=lambda name: max((each.p95 or 0.0 for each in known.series[name]), default=0.0))
    name = st.selectbox("Step", names, index=names.index(slowest), key="flow-step", label_visibility="collapsed")
    name = name if name in known.series else names[0]
    outages = [cell for cell in known.cells if cell.step == name and cell.is_without_success]
    chart = _duration_chart(known, known.series[name], outages, deployed)
    st.altair_chart(chart, alt=f"Durations of {name}")


def _duration_chart(
    known: Flow, series: Sequence[schemas.FlowPeriod], outages: Sequence[Cell], deployed: Sequence[Deployment]
) -> Any:
    """Returns how many attempts took how long, with percentiles over it; where few succeeded, an alarm says so."""
    period_ms = known.period.total_seconds() * 1000
    buckets: list[dict[str, Any]] = [
        {
            "at": epoch_ms(each.at),
            "end": epoch_ms(each.at) + period_ms,
            "low": low,
            "high": low * BUCKET_RATIO,
            "attempts": attempts,
            "text": f"{duration(low)} to {duration(low * BUCKET_RATIO)}",
        }
        for each in series
        for low, attempts in each.durations
    ]
    lines: list[dict[str, Any]] = [
        {"at": epoch_ms(each.at) + period_ms / 2, "percentile": name, "seconds": value, "text": duration(value)}
        for each in series
        for name, value in (("p50", each.p50), ("p95", each.p95), ("p99", each.p99))
        if value is not None
    ]
    red, blue = theme_color("redColor", "#b00020"), theme_color("blueColor", "#2060b0")
    background, ink = theme_color("backgroundColor", "#ffffff"), theme_color("textColor", "#000000")
    drawn = [each["seconds"] for each in lines] + [each[edge] for each in buckets for edge in ("low", "high")]
    ticks = duration_ticks(drawn)
    seconds = alt.Axis(labelExpr=SECONDS_LABEL, values=ticks)
    scale = alt.Scale(type="log", nice=False, domain=[ticks[0], ticks[-1]])
    heat = (
        alt.Chart(alt.InlineData(values=buckets))
        .mark_rect()
        .encode(
            x=_time_axis(known),
            x2="end:T",
            y=alt.Y("low:Q", title="Duration", scale=scale, axis=seconds),
            y2="high:Q",
            color=alt.Color(
                "attempts:Q",
                scale=alt.Scale(range=[background, blue], domainMin=0, interpolate="rgb"),
                legend=alt.Legend(orient="top", title="Attempts", tickMinStep=1, tickCount=3),
            ),
            tooltip=[alt.Tooltip("text:N", title="Duration"), alt.Tooltip("attempts:Q", title="Attempts", format=",")],
        )
    )
    percentiles = (
        alt.Chart(alt.InlineData(values=lines))
        .mark_line(point=alt.OverlayMarkDef(color=ink), color=ink)
        .encode(
            x="at:T",
            y=alt.Y("seconds:Q", scale=scale),
            strokeDash=alt.StrokeDash("percentile:N", legend=alt.Legend(orient="top", title=None, symbolType="stroke")),
            tooltip=["percentile:N", alt.Tooltip("text:N", title="Duration"), time_tooltip("at", "At")],
        )
    )
    values = [
        {**_failure_value(of, ATTEMPTS), "label": f"{all_or_some(of.failed_attempts, of.attempts)} attempts failed"}
        for of in outages
    ]
    failing = alt.Chart(alt.InlineData(values=values))
    areas = failing.mark_rect(color=red, opacity=0.9).encode(x="at:T", x2="end:T", tooltip="text:N")
    labels = failing.mark_text(angle=270, color=background, fontWeight="bold", fontSize=14).encode(
        x="middle:T", y=alt.value({"expr": "height / 2"}), text="label:N"
    )
    failures = [areas, labels] if outages else []  # a layer without marks would have no accessible name
    marks = deployment_marks(deployed, epoch_ms(known.since), epoch_ms(known.until))
    return (
        alt.layer(heat, percentiles, *failures, *marks)
        .resolve_scale(color="independent")
        .properties(height=CHART_PIXELS)
    )


def duration_ticks(seconds: Sequence[float]) -> list[float]:
    """Returns the times that a logarithmic axis for these durations names, from below the least to above the most."""
    least, most = min(seconds, default=0.01), max(seconds, default=1.0)
    first = max((index for index, each in enumerate(TICKS_SECONDS) if each <= least), default=0)
    last = next((index for index, each in enumerate(TICKS_SECONDS) if each >= most), len(TICKS_SECONDS) - 1)
    ticks = TICKS_SECONDS[first : max(last, first + 1) + 1]
    step = -(-(len(ticks) - 1) // MAX_TICKS)
    return [*ticks[:-1:step], ticks[-1]]
