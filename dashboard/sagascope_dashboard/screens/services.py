"""Services and their processes, and data health: what is received, from whom, and what is missing."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.formatting import plural
from sagascope_dashboard.viewmodels.services import (
    Advice,
    Bridge,
    CollectorStatus,
    Health,
    Process,
    Sender,
    Service,
    collector_status,
    health,
    services,
)


def content(known: Sequence[Service], status: CollectorStatus | None) -> list[Element | None]:
    """Builds the whole screen."""
    return [h("h1", "Services", cls="page-title"), notices(status), _services(known)]


def notices(status: CollectorStatus | None) -> Element | None:
    """Builds the collector's notices about itself; None without any."""
    if status is None or not status.notices:
        return None
    items = [h("p", icon("mark"), h("span", notice), cls="notice") for notice in status.notices]
    return h("div", items, role="status")


def _services(known: Sequence[Service]) -> Element:
    if not known:
        return h(
            "p", "No service has reported yet. Services appear here on their own.", cls="empty-state", role="status"
        )
    return h("div", [_service(service) for service in known], cls="services")


def _service(service: Service) -> Element:
    return h(
        "section",
        h("header", h("h2", link(service.href, service.name)), _versions(service)),
        h("ul", [_process(process) for process in service.processes]),
        h("p", f"and {service.left_out:,} not reporting for longer", cls="muted") if service.left_out else None,
        cls="service",
        data_key=service.name,
    )


def _versions(service: Service) -> Element | None:
    return h("span", f"several versions: {service.versions}", cls="muted") if service.versions else None


def _process(process: Process) -> Element:
    return h(
        "li",
        h("strong", process.name),
        badge(process.style),
        h("span", "last seen ", time(process.last_seen, "ago"), cls="muted"),
        h("span", f"{process.in_flight:,} in flight") if process.in_flight else None,
        h("span", f"version {process.version}", cls="muted") if process.version else None,
        data_key=process.name,
    )


def services_page() -> None:
    """Renders every service with its processes."""
    st.set_page_config(page_title="Services · Sagascope")
    _live_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content() -> None:
    known, status = error_states.current("services", data.services()), data.status().value
    if known:
        render("services", *content(services(known), collector_status(status) if status else None))


def health_content(known: Health) -> list[Element | None]:
    """Builds the whole screen."""
    summary = h("p", badge(known.style), h("span", f" {known.sentence}"), cls="health-summary", role="status")
    return [
        h("h1", "Data health", cls="page-title"),
        notices(known.status),
        summary,
        h("ul", [_advice(each) for each in known.collector], cls="advice") if known.collector else None,
        h("section", h("h2", "Senders"), h("div", [_sender(each) for each in known.senders], cls="services")),
        _bridges(known.bridges),
        _collector_status(known.status),
    ]


def _bridges(known: Sequence[Bridge]) -> Element | None:
    if not known:
        return None
    return h("section", h("h2", "Bridges"), h("div", [_bridge(each) for each in known], cls="services"), cls="section")


def _bridge(bridge: Bridge) -> Element:
    facts = [h("span", text, cls="muted") for text in (bridge.lag, bridge.in_flight)]
    return h(
        "section",
        h("header", h("h3", bridge.name), badge(bridge.style), facts, _last_seen(bridge.last_seen)),
        h("p", bridge.checkpoint, cls="muted") if bridge.checkpoint else None,
        h("p", bridge.error) if bridge.error else None,
        cls="service",
        data_key=f"{bridge.name} {bridge.checkpoint}",
    )


def _sender(sender: Sender) -> Element:
    alive = plural(sender.alive, "process", "processes")
    return h(
        "section",
        h(
            "header",
            h("h3", sender.name),
            badge(sender.style),
            h("span", f"{alive} alive", cls="muted"),
            _last_seen(sender.last_seen),
        ),
        h("ul", [_advice(each) for each in sender.advice], cls="advice") if sender.advice else None,
        cls="service",
        data_key=sender.name,
    )


def _last_seen(at: datetime) -> Element:
    return h("span", "last seen ", time(at, "ago"), cls="muted")


def _advice(advice: Advice) -> Element:
    return h(
        "li", h("strong", advice.problem), h("span", advice.consequence), h("span", advice.action, cls="action-text")
    )


def _collector_status(status: CollectorStatus) -> Element:
    facts = [node for name, value in status.facts for node in (h("dt", name), h("dd", value))]
    return h("section", h("h2", "Received"), h("dl", facts, cls="key-values"), cls="section")


def health_page() -> None:
    """Renders what the collector receives, and what is missing."""
    st.set_page_config(page_title="Data health · Sagascope")
    _live_health_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_health_content() -> None:
    status, known = data.status(), data.services()
    if (value := error_states.current("health", status, known)) and known.value:
        render("health", *health_content(health(value, known.value)))
