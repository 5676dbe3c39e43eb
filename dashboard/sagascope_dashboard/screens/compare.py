"""A saga beside a typical finished one of its type."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, link
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.formatting import line
from sagascope_dashboard.urls import Filters, SagaAddress
from sagascope_dashboard.viewmodels.compare import Comparison, Differing, Head, Row, Side, compare, typical


def page(known: Comparison) -> list[Element | None]:
    """The whole screen."""
    return [
        h("h1", h("span", f"{known.name} ", cls="type"), f"{known.mine.id} beside {known.theirs.id}", cls="page-title"),
        h("div", _head(known.mine, "This one"), _head(known.theirs, "A typical finished one"), cls="pair"),
        _summary(known),
        _steps(known),
        _attributes(known),
    ]


def alone(name: str, href: str) -> list[Element]:
    """Instead, where there is nothing to compare with."""
    words = f"No other {name} has been completed yet, so there is nothing to compare with."
    said = h("p", words, cls="nothing", role="status")
    return [h("h1", "Compare", cls="page-title"), said, h("p", link(href, "Back to the transaction"))]


def _head(head: Head, role: str) -> Element:
    words = h("h2", role), h("p", h("strong", link(head.href, head.id)), badge(head.sign), h("span", head.lasted))
    return h("section", *words, cls="service")


def _summary(known: Comparison) -> Element:
    if not known.summary:
        return h("p", "No step went otherwise.", cls="section", role="status")
    items = [h("li", each) for each in known.summary]
    return h("section", h("h2", "What differs"), h("ul", items, cls="differences"), cls="section")


def _steps(known: Comparison) -> Element:
    head = h("tr", [h("th", title, scope="col") for title in ("Step", "This one", "The typical one")])
    table = h("table", h("thead", head), h("tbody", [_row(row) for row in known.rows]), cls="table cards")
    return h("section", h("h2", "Step by step"), h("div", table, cls="scroll"), cls="section")


def _row(row: Row) -> Element:
    differs = "differs" if row.differences else None
    return h("tr", h("td", h("b", row.name), cls="wide"), _side(row.mine), _side(row.theirs), cls=differs)


def _side(side: Side) -> Element:
    tries = f"{side.tries:,} attempts" if side.tries > 1 else ""
    words = ", ".join(part for part in (side.took, tries) if part)
    return h("td", badge(side.sign), h("div", words) if words else None, h("div", side.where, cls="soft"))


def _attributes(known: Comparison) -> Element | None:
    if not known.attributes:
        return None
    head = h("tr", [h("th", title, scope="col") for title in ("Attribute", "This one", "The typical one")])
    table = h("table", h("thead", head), h("tbody", [_attribute(each) for each in known.attributes]), cls="table cards")
    cut = f"and {known.left_out:,} more" if known.left_out else None
    body = h("div", table, cls="scroll"), h("p", cut, cls="soft") if cut else None
    return h("section", h("h2", "Attributes that differ"), *body, cls="section")


def _attribute(each: Differing) -> Element:
    absent = h("span", "absent", cls="soft")
    return h("tr", h("td", h("b", each.name), cls="wide"), h("td", each.mine or absent), h("td", each.theirs or absent))


def draw() -> None:
    """The saga that the address names, beside one like it."""
    address = SagaAddress.read(st.query_params.to_dict())
    st.set_page_config(page_title="Compare · Sagascope")
    if address is None:
        render(
            "compare-which", h("section", h("h1", "Which transaction?"), h("p", "Type its id above."), cls="trouble")
        )
        return
    _live(address)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(address: SagaAddress) -> None:
    mine = data.saga(address)
    if mine.value is None:
        error_states.none_to_show("compare-trouble", mine)
        return
    error_states.outdated("compare-outdated", mine)
    other = _like(mine.value)
    theirs = data.saga(other) if other else None
    if theirs is None or theirs.value is None:
        render("compare", *alone(line(mine.value.name, 80), address.href()))
        return
    render("compare", *page(compare(mine.value, theirs.value, data.now())))


def _like(saga: schemas.Saga) -> SagaAddress | None:
    """The finished saga that it is compared with: the same as long as the page is open."""
    key = f"like {saga.environment!r} {saga.name!r} {saga.id!r} {saga.run!r}"
    if key not in st.session_state:
        finished = data.sagas(Filters(status="completed", name=saga.name, environment=saga.environment)).value
        found = typical(finished.items, saga) if finished else None
        if found is None:
            return None
        st.session_state[key] = SagaAddress(found.name, found.id, found.environment, found.run)
    chosen: SagaAddress = st.session_state[key]
    return chosen
