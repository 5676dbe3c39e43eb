"""Transactions: find, narrow, page through."""

from dataclasses import fields

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.filters import WINDOWS, Filters
from sagascope_dashboard.palette import ATTENTION, STATUS
from sagascope_dashboard.screens import error_states
from sagascope_dashboard.viewmodels.transactions import Choices, choices, transactions
from sagascope_dashboard.views.transactions import chips, page

_WORDS = {
    "status": {"": "Any status", **{key: sign.word for key, sign in STATUS.items()}},
    "attention": {"": "Any", "any": "Needs attention", **{key: sign.word for key, sign in ATTENTION.items()}},
    "since": {
        "": "Any time",
        **{key: f"Last {words}" for key, words in zip(WINDOWS, ("15 min", "hour", "24 hours", "7 days"), strict=True)},
    },
}


def draw() -> None:
    """The list, as the address narrows it."""
    st.set_page_config(page_title="Transactions · Sagascope")
    render("transactions-title", h("h1", "Transactions", cls="page-title"))
    filters = _narrow(Filters.read(st.query_params.to_dict()))
    render("transactions-chips", chips(filters))
    _live(filters)


def _narrow(filters: Filters) -> Filters:
    """Draw the filters; what the reader chooses goes to the address."""
    known = choices(data.flows().value, data.services().value)
    # Streamlit forgets the fields of a page that was left.
    if st.session_state.get("narrowed") != filters or "narrow-status" not in st.session_state:
        for field in fields(filters):
            st.session_state[f"narrow-{field.name}"] = getattr(filters, field.name)
    with st.container(key="filters", horizontal=True):
        chosen = filters.having(**_changed(filters, _widgets(known)))
    st.session_state["narrowed"] = chosen
    if chosen != filters:
        st.query_params.from_dict(chosen.query())
    return chosen


def _widgets(known: Choices) -> dict[str, str]:
    chosen = {
        "status": _select("status", "Status", list(_WORDS["status"])),
        "attention": _select("attention", "Attention", list(_WORDS["attention"])),
        "name": _select("name", "Type", ["", *known.names]),
        "service": _select("service", "Service", ["", *known.services]),
        "since": _select("since", "Started", list(_WORDS["since"])),
    }
    step = st.text_input("Step", key="narrow-step", placeholder="Any step")
    if len(known.environments) > 1:
        chosen["environment"] = _select("environment", "Environment", ["", *known.environments])
    return {**chosen, "step": step.strip()}


def _select(field: str, label: str, options: list[str]) -> str:
    now = st.session_state[f"narrow-{field}"]
    words = _WORDS.get(field, {"": "Any"})
    chosen = st.selectbox(
        label,
        options if now in options else [*options, now],
        key=f"narrow-{field}",
        format_func=lambda option: words.get(option, option),
    )
    return str(chosen)


def _changed(filters: Filters, chosen: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in chosen.items() if getattr(filters, name) != value}


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(filters: Filters) -> None:
    found = data.sagas(filters)
    if found.value is None:
        error_states.none_to_show("transactions-trouble", found)
        return
    error_states.outdated("transactions-outdated", found)
    render("transactions", *page(transactions(found.value, filters, _why_nothing(filters, found.value))))


def _why_nothing(filters: Filters, found: schemas.Sagas) -> str | None:
    if not filters.q or found.items:
        return None
    result = data.search(filters.q).value
    return result.reason if result else None
