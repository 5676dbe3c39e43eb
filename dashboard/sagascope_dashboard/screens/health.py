"""Data health: what is received, from whom, and what is missing."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.formatting import plural
from sagascope_dashboard.screens.services import notices
from sagascope_dashboard.viewmodels.health import Advice, Health, Sender, health
from sagascope_dashboard.viewmodels.services import Bridge, CollectorStatus


def content(known: Health) -> list[Element | None]:
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


def page() -> None:
    """Renders what the collector receives, and what is missing."""
    st.set_page_config(page_title="Data health · Sagascope")
    _live_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content() -> None:
    status, services = data.status(), data.services()
    if status.value is None or services.value is None:
        error_states.render_error("health-error", status if status.value is None else services)
        return
    error_states.render_outdated_notice("health-outdated", status, services)
    render("health", *content(health(status.value, services.value)))
