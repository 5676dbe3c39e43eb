"""Services: who is heard, who is silent, what arrives."""

from collections.abc import Sequence

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.viewmodels.services import Arrivals, Process, Service, arrivals, services


def page(known: Sequence[Service], arrived: Arrivals | None) -> list[Element | None]:
    """The whole screen."""
    return [h("h1", "Services", cls="page-title"), notices(arrived), _services(known)]


def notices(arrived: Arrivals | None) -> Element | None:
    """What the collector says of itself, above everything else; None where it has nothing to say."""
    if arrived is None or not arrived.notices:
        return None
    said = [h("p", icon("mark"), h("span", notice), cls="notice") for notice in arrived.notices]
    return h("div", said, role="status")


def _services(known: Sequence[Service]) -> Element:
    if not known:
        return h("p", "No service has been heard yet. They appear here by themselves.", cls="nothing", role="status")
    return h("div", [_service(service) for service in known], cls="services")


def _service(service: Service) -> Element:
    return h(
        "section",
        h("header", h("h2", link(service.href, service.name)), _versions(service)),
        h("ul", [_process(process) for process in service.processes]),
        h("p", f"and {service.left_out:,} silent for longer", cls="soft") if service.left_out else None,
        cls="service",
        data_key=service.name,
    )


def _versions(service: Service) -> Element | None:
    return h("span", f"several versions: {service.versions}", cls="soft") if service.versions else None


def _process(process: Process) -> Element:
    return h(
        "li",
        h("strong", process.name),
        badge(process.sign),
        h("span", "heard ", time(process.heard, "ago"), cls="soft"),
        h("span", f"{process.in_flight:,} in flight") if process.in_flight else None,
        h("span", f"version {process.version}", cls="soft") if process.version else None,
        data_key=process.name,
    )


def draw() -> None:
    """Every service with its processes."""
    st.set_page_config(page_title="Services · Sagascope")
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    known, status = data.services(), data.status()
    if known.value is None:
        error_states.none_to_show("services-trouble", known)
        return
    error_states.outdated("services-outdated", known)
    render("services", *page(services(known.value), arrivals(status.value) if status.value else None))
