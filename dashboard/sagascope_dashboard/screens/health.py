"""Data health: what arrives, and what is missing."""

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
from sagascope_dashboard.viewmodels.services import Arrivals, Bridge


def page(known: Health) -> list[Element | None]:
    """The whole screen."""
    said = h("p", badge(known.sign), h("span", f" {known.sentence}"), cls="health-said", role="status")
    return [
        h("h1", "Data health", cls="page-title"),
        notices(known.arrived),
        said,
        h("ul", [_advice(each) for each in known.collector], cls="advice") if known.collector else None,
        h("section", h("h2", "From whom"), h("div", [_sender(each) for each in known.senders], cls="services")),
        _bridges(known.bridges),
        _arrivals(known.arrived),
    ]


def _bridges(known: Sequence[Bridge]) -> Element | None:
    if not known:
        return None
    return h("section", h("h2", "Bridges"), h("div", [_bridge(each) for each in known], cls="services"), cls="section")


def _bridge(bridge: Bridge) -> Element:
    said = [h("span", text, cls="soft") for text in (bridge.lag, bridge.watching)]
    return h(
        "section",
        h("header", h("h3", bridge.name), badge(bridge.sign), said, _last_seen(bridge.heard)),
        h("p", bridge.place, cls="soft") if bridge.place else None,
        h("p", bridge.trouble) if bridge.trouble else None,
        cls="service",
        data_key=f"{bridge.name} {bridge.place}",
    )


def _sender(sender: Sender) -> Element:
    alive = plural(sender.alive, "process", "processes")
    return h(
        "section",
        h(
            "header",
            h("h3", sender.name),
            badge(sender.sign),
            h("span", f"{alive} alive", cls="soft"),
            _last_seen(sender.heard),
        ),
        h("ul", [_advice(each) for each in sender.advice], cls="advice") if sender.advice else None,
        cls="service",
        data_key=sender.name,
    )


def _last_seen(at: datetime) -> Element:
    return h("span", "heard ", time(at, "ago"), cls="soft")


def _advice(advice: Advice) -> Element:
    return h("li", h("strong", advice.fault), h("span", advice.then), h("span", advice.do, cls="do"))


def _arrivals(arrived: Arrivals) -> Element:
    facts = [node for name, value in arrived.facts for node in (h("dt", name), h("dd", value))]
    return h("section", h("h2", "What arrives"), h("dl", facts, cls="arrivals"), cls="section")


def draw() -> None:
    """What the collector knows of what it is sent."""
    st.set_page_config(page_title="Data health · Sagascope")
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    status, services = data.status(), data.services()
    if status.value is None or services.value is None:
        error_states.none_to_show("health-trouble", status if status.value is None else services)
        return
    error_states.outdated("health-outdated", status, services)
    render("health", *page(health(status.value, services.value)))
