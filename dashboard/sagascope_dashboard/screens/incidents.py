"""One incident: what its sagas have in common, and what people say of it."""

from collections.abc import Sequence

import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, link, time
from sagascope_dashboard.components.error_states import error_notice
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.screens.login import name
from sagascope_dashboard.viewmodels.incidents import Incident, Row, incident


def rows(known: Sequence[Row]) -> Element | None:
    """Every incident that goes on; None: there is none."""
    if not known:
        return None
    return h("section", h("h2", "Incidents", cls="section"), h("div", [_row(row) for row in known], cls="cases"))


def over(known: Sequence[Row]) -> Element | None:
    """The latest that are resolved."""
    if not known:
        return None
    said = [h("li", link(row.href, f"{row.name} at {row.where}", cls="action"), badge(row.state)) for row in known]
    return h("section", h("h2", "Over", cls="section"), h("ul", said, cls="over"))


def page(shown: Incident) -> list[Element | None]:
    """One incident: what it is, what became of it, and what was said."""
    return [
        h("header", h("h1", shown.headline), _signs(shown.row), cls=f"incident-head {shown.row.sign.tone}"),
        h("pre", shown.error, cls="sample") if shown.error else None,
        h("div", _facts(shown.row), cls="foot"),
        _examples(shown),
        _common_attributes(shown),
        _moved(shown),
    ]


def history(shown: Incident) -> Element:
    """What happened, the latest first."""
    said = [
        h("li", time(each.at, "full"), h("span", each.said), h("q", each.note) if each.note else None)
        for each in shown.history
    ]
    return h("section", h("h2", "What happened", cls="section"), h("ol", said, cls="history"))


def _row(row: Row) -> Element:
    return h(
        "article",
        h("div", link(row.href, h("span", f"{row.count:,} ", cls="many"), row.name), _signs(row), cls="who"),
        h("p", " · ".join(part for part in (row.where, row.error) if part), cls="said"),
        h("div", h("strong", time(row.since, "for")), h("span", "since ", time(row.since), cls="soft"), cls="age"),
        h("meter", min="0", max="100", value=str(round(row.share * 100)), aria_label=f"{row.count:,} affected"),
        h("div", _facts(row), cls="foot"),
        cls=f"case incident {row.sign.tone}",
        data_key=row.key,
    )


def _signs(row: Row) -> Element:
    return h(
        "span", badge(row.sign), badge(row.scope), badge(row.state) if row.state.word != "Open" else None, cls="signs"
    )


def _facts(row: Row) -> list[Element | None]:
    return [
        *[h("span", stake, cls="stake") for stake in row.amount_at_risk],
        *[h("span", words) for words in row.recommended],
        h("span", "for example ", ", ".join(each.id for each in row.examples[:3])) if row.examples else None,
        h("span", row.environment) if row.environment else None,
        h("span", f"{row.acknowledged_by or 'a person'}: {row.note}" if row.note else f"seen by {row.acknowledged_by}")
        if row.note or row.acknowledged_by
        else None,
    ]


def _examples(shown: Incident) -> Element:
    links = [link(each.href, each.id, cls="action") for each in shown.row.examples]
    return h("p", links, link(shown.list_href, "All of them", cls="action"), cls="chips")


def _common_attributes(shown: Incident) -> Element | None:
    if not shown.common_attributes:
        return None
    names = ("Attribute", "Affected", "Completed", "How often", "The same transactions have")
    head = h("tr", [h("th", name, scope="col") for name in names])
    told = [(each.text, each.affected, each.completed, each.lift, each.also) for each in shown.common_attributes]
    rows = [h("tr", [h("td", cell) for cell in cells]) for cells in told]
    table = h("table", h("thead", head), h("tbody", rows), cls="table")
    title = h("h2", "What they have in common", cls="section")
    return h("section", title, h("div", table, cls="scroll", tabindex="0"))


def _moved(shown: Incident) -> Element | None:
    if not shown.moved:
        return None
    facts = [node for name, number in shown.moved for node in (h("dt", name), h("dd", f"{number:,}"))]
    title = h("h2", "Since it was acknowledged", cls="section")
    return h("section", title, h("dl", facts, cls="arrivals"))


BUTTONS = {"acknowledged": "Acknowledge", "resolved": "It is over", "open": "Open again"}


def draw() -> None:
    """The incident that the address names."""
    st.set_page_config(page_title="Incident · Sagascope")
    key = st.query_params.get("key", "")
    if not key:
        render("incident-which", h("section", h("h1", "Which incident?"), h("p", "See Triage."), cls="trouble"))
        return
    shown = _live(key)
    if shown:
        _incident_form(key)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live(key: str) -> Incident | None:
    reading = data.incident(key)
    if reading.value is None:
        error_states.none_to_show("incident-trouble", reading, "incident")
        return None
    error_states.outdated("incident-outdated", reading)
    shown = incident(reading.value)
    render("incident", *page(shown), history(shown))
    return shown


def _incident_form(key: str) -> None:
    """Shows the form for a note or a new state; a form keeps its input while the page above refreshes."""
    with st.form("incident-say", clear_on_submit=True):
        st.text_input("Your name", key="incident-by", value=name(), max_chars=200, disabled=bool(name()))
        note = st.text_area("Note", placeholder="What you know, and what is being done", max_chars=4_000)
        with st.container(horizontal=True):
            chosen = [state for state, word in BUTTONS.items() if st.form_submit_button(word)]
            only_noted = st.form_submit_button("Only note it")
    if chosen or (only_noted and note.strip()):
        _update(key, chosen[0] if chosen else None, note.strip() or None)


def _update(key: str, state: str | None, note: str | None) -> None:
    by = (name() or str(st.session_state.get("incident-by") or "")).strip()[:200] or None
    error = data.update_incident(key, schemas.IncidentPatch.model_validate({"state": state, "note": note, "by": by}))
    if error is not None:
        st.error(f"{error_notice(error).title}. It was not noted.")
