"""What arrives, from whom, and what to mend."""

from collections.abc import Sequence
from datetime import datetime

from sagascope_dashboard.components.elements import Element, badge, h, time
from sagascope_dashboard.format import plural
from sagascope_dashboard.viewmodels.bridges import Bridge
from sagascope_dashboard.viewmodels.health import Advice, Health, Sender
from sagascope_dashboard.viewmodels.services import Arrivals
from sagascope_dashboard.views.services import notices


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
