"""Services and their processes."""

from collections.abc import Sequence

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.viewmodels.services import CollectorStatus, Process, Service, collector_status, services


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


def page() -> None:
    """Renders every service with its processes."""
    st.set_page_config(page_title="Services · Sagascope")
    _live_content()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content() -> None:
    known, status = data.services(), data.status()
    if known.value is None:
        error_states.render_error("services-error", known)
        return
    error_states.render_outdated_notice("services-outdated", known)
    render("services", *content(services(known.value), collector_status(status.value) if status.value else None))
