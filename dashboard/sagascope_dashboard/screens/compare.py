"""A saga beside a typical completed one of its type."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, link, message, table, table_section
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.formatting import line
from sagascope_dashboard.urls import Filters, SagaAddress
from sagascope_dashboard.viewmodels.compare import (
    AttributeDifference,
    ComparedSaga,
    Comparison,
    StepResult,
    StepRow,
    compare,
    typical_saga,
)


def content(comparison: Comparison) -> list[Element | None]:
    """Builds the whole screen."""
    return [
        h(
            "h1",
            h("span", f"{comparison.name} ", cls="type"),
            f"{comparison.this.id} beside {comparison.reference.id}",
            cls="page-title",
        ),
        h(
            "div",
            _compared_saga(comparison.this, "This one"),
            _compared_saga(comparison.reference, "A typical completed one"),
            cls="pair",
        ),
        _summary(comparison),
        _steps(comparison),
        _attributes(comparison),
    ]


def nothing_to_compare(name: str, href: str) -> list[Element]:
    """Builds the page for a saga without another to compare with."""
    words = f"No other {name} has been completed yet, so there is nothing to compare with."
    text = h("p", words, cls="empty-state", role="status")
    return [h("h1", "Compare", cls="page-title"), text, h("p", link(href, "Back to the transaction"))]


def _compared_saga(head: ComparedSaga, title: str) -> Element:
    words = h("h2", title), h("p", h("strong", link(head.href, head.id)), badge(head.style), h("span", head.duration))
    return h("section", *words, cls="service")


def _summary(comparison: Comparison) -> Element:
    if not comparison.summary:
        return h("p", "No step differs.", cls="section", role="status")
    items = [h("li", each) for each in comparison.summary]
    return h("section", h("h2", "What differs"), h("ul", items, cls="differences"), cls="section")


def _steps(comparison: Comparison) -> Element:
    return table_section("Step by step", ("Step", "This one", "A typical one"), map(_row, comparison.rows))


def _row(row: StepRow) -> Element:
    differs = "differs" if row.differences else None
    return h(
        "tr", h("td", h("b", row.name), cls="wide"), _step_result(row.this), _step_result(row.reference), cls=differs
    )


def _step_result(side: StepResult) -> Element:
    attempts = f"{side.attempts:,} attempts" if side.attempts > 1 else ""
    words = ", ".join(part for part in (side.duration, attempts) if part)
    return h("td", badge(side.style), h("div", words) if words else None, h("div", side.where, cls="muted"))


def _attributes(comparison: Comparison) -> Element | None:
    if not comparison.attributes:
        return None
    rows = [_attribute(each) for each in comparison.attributes]
    differences = h("div", table(("Attribute", "This one", "A typical one"), rows), cls="scroll")
    cut = h("p", f"and {comparison.left_out:,} more", cls="muted") if comparison.left_out else None
    return h("section", h("h2", "Attributes that differ"), differences, cut, cls="section")


def _attribute(each: AttributeDifference) -> Element:
    absent = h("span", "absent", cls="muted")
    return h(
        "tr", h("td", h("b", each.name), cls="wide"), h("td", each.this or absent), h("td", each.reference or absent)
    )


def page() -> None:
    """Renders the saga that the URL names beside a typical completed one."""
    address = SagaAddress.parse(st.query_params.to_dict())
    st.set_page_config(page_title="Compare · Sagascope")
    if address is None:
        render("compare-which", message("Which transaction?", "Type its id above."))
        return
    _live_content(address)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content(address: SagaAddress) -> None:
    this = error_states.current("compare", data.saga(address))
    if this is None:
        return
    other = _reference_address(this)
    reference = data.saga(other).value if other else None
    if reference is None:
        render("compare", *nothing_to_compare(line(this.name, 80), address.href()))
    else:
        render("compare", *content(compare(this, reference, data.now())))


def _reference_address(saga: schemas.Saga) -> SagaAddress | None:
    """Returns the completed saga to compare with; it stays the same while the page is open."""
    key = f"like {saga.environment!r} {saga.name!r} {saga.id!r} {saga.run!r}"
    if key not in st.session_state:
        finished = data.sagas(Filters(status="completed", name=saga.name, environment=saga.environment)).value
        found = typical_saga(finished.items, saga) if finished else None
        if found is None:
            return None
        st.session_state[key] = SagaAddress(found.name, found.id, found.environment, found.run)
    chosen: SagaAddress = st.session_state[key]
    return chosen
