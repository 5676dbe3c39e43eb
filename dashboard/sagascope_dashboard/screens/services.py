"""Services and their processes, and data health: what is received, from whom, and what is missing."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.charts import chart_of_versions, graph
from sagascope_dashboard.components.elements import (
    Element,
    badge,
    empty_state,
    h,
    key_values,
    notice,
    render,
    value_or_error,
)
from sagascope_dashboard.formatting import line, plural
from sagascope_dashboard.viewmodels.services import Gap, Health, health, processes, received_facts, service_map

CALL_WINDOWS = ("15m", "1h", "24h")
"""Windows over which calls between services are counted."""


def notices(status: schemas.Status | None) -> Element | None:
    """Builds the collector's notices about itself; None without any."""
    shown = [notice(line(each, 400)) for each in (status.notices if status else ())]
    return h("div", shown, role="status") if shown else None


def services_page() -> None:
    """Renders which services call which others, and every process."""
    render("services-title", h("h1", "Services", cls="page-title"))
    window = st.segmented_control(
        "Window", CALL_WINDOWS, default="1h", format_func="last {}".format, key="services-window"
    )
    _live_processes(window or "1h")


@st.fragment(run_every=data.COUNT_INTERVAL_SECONDS)
def _live_processes(window: str) -> None:
    known, status = value_or_error("services", data.services()), data.status().value
    if known is None:
        return
    render("services", notices(status))
    table = processes(known)
    if not table.rows:
        empty = "No service has reported yet. Services appear here on their own."
        render("services-empty", empty_state(empty))
        return
    if calls := data.calls(window).value:
        render("services-calls", _calls_note(calls))
        st.graphviz_chart(graph(*service_map(known, calls)), width="content", alt="Calls between services")
    _versions(known)
    render("services-processes", h("h2", "Processes", cls="section"))
    render("services-chosen", go=lists.choose("Processes", table))


def _calls_note(calls: schemas.Calls) -> Element:
    texts = [
        "Each arrow is a call of one service by another: how often, how many failed, and the p95 of their duration."
    ]
    if not calls.items:
        texts = [
            "No call between services began in this window. A call is a span whose parent is a span of another service."
        ]
    if calls.sampled > 1:
        texts.append(f" One of {calls.sampled:,} traces is counted.")
    return h("p", *texts, cls="muted")


def _versions(known: schemas.Services) -> None:
    """Renders when each version of a service was seen, if any service sends its version."""
    chart = chart_of_versions(known)
    if chart is None:
        return
    render("services-versions", h("h2", "Versions over time", cls="section"))
    st.altair_chart(chart, alt="Versions over time")


def _health(known: Health, status: schemas.Status) -> None:
    summary = h("p", badge(known.style), h("span", f" {known.sentence}"), cls="health-summary", role="status")
    render("health", h("h1", "Data health", cls="page-title"), notices(status), summary)
    render("health-gaps", h("h2", "What is missing, and how to send it", cls="section") if known.gaps else None)
    with st.container():
        for gap in known.gaps:
            _gap(gap)
    chosen = None
    if known.senders.rows:
        render("health-senders", h("h2", "Senders", cls="section"))
        chosen = lists.choose("Senders", known.senders)
    if known.bridges.rows:
        render("health-bridges", h("h2", "Bridges", cls="section"))
        lists.show("Bridges", known.bridges)
    received = h("section", h("h2", "Received"), key_values(received_facts(status)), cls="section")
    render("health-received", received, go=chosen)


def _gap(gap: Gap) -> None:
    count = f" ({plural(len(gap.senders), 'service')})" if gap.senders else ""
    with st.expander(f"{gap.problem}{count}", key=f"gap-{gap.key}"):
        render(
            f"gap-{gap.key}-text",
            h("p", gap.consequence),
            h("p", "Services: ", h("b", ", ".join(gap.senders))) if gap.senders else None,
            h("p", gap.action),
        )
        if gap.example:
            st.code(gap.example, language=None)


def health_page() -> None:
    """Renders what the collector receives, and what is missing."""
    _live_health_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_health_content() -> None:
    status, known = data.status(), data.services()
    if (value := value_or_error("health", status, known)) and known.value:
        _health(health(value, known.value, data.flows().value), value)
