"""A saga beside a typical finished one of its type."""

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.filters import Filters, SagaAddress
from sagascope_dashboard.format import line
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.compare import compare, typical
from sagascope_dashboard.views.compare import alone, page


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
