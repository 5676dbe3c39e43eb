"""Triage: the start page."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components import error_states
from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.components.renderer import render
from sagascope_dashboard.formatting import utc_note
from sagascope_dashboard.screens import incidents
from sagascope_dashboard.screens.services import notices
from sagascope_dashboard.viewmodels.services import Arrivals, arrivals
from sagascope_dashboard.viewmodels.triage import Case, Triage, steady, triage


def page(shown: Triage, note: str = "", arrived: Arrivals | None = None) -> list[Element | None]:
    """The whole screen; `note` is said beside its title, above it what the collector says of itself."""
    return [
        notices(arrived),
        _top(shown, note),
        incidents.rows(shown.incidents),
        _cases(shown),
        _more(shown),
        incidents.over(shown.over),
        _counts(shown),
    ]


def _top(shown: Triage, note: str) -> Element:
    if shown.calm:
        return h("header", icon("check"), h("h1", shown.title), h("p", _calm_words(shown), cls="soft"), cls="calm")
    return h(
        "header", h("h1", shown.title), h("p", " ".join(["The worst first.", note]).strip(), cls="soft"), cls="needed"
    )


def _calm_words(shown: Triage) -> str:
    running = next((count.number for count in shown.counts if count.sign.word == "Running"), 0)
    if not any(count.number for count in shown.counts):
        return "No transaction has been received yet. They appear here by themselves."
    return f"{running:,} running, every one of them in time." if running else "Every transaction has come to its end."


def _cases(shown: Triage) -> Element | None:
    if not shown.cases:
        return None
    title = h("h2", "Each for a cause of its own", cls="section") if shown.incidents else None
    return h("section", title, h("div", [_case(case) for case in shown.cases], cls="cases"))


def _case(case: Case) -> Element:
    where = " in ".join(part for part in (case.step, case.service) if part)
    facts = [
        *[h("span", stake, cls="stake") for stake in case.amount_at_risk],
        h("span", where) if where else None,
        h("span", f"{case.attempts} attempts") if case.attempts > 1 else None,
        h("span", case.environment) if case.environment else None,
    ]
    return h(
        "article",
        h("div", link(case.href, h("span", f"{case.name} ", cls="type"), case.id), badge(case.sign), cls="who"),
        h("p", case.headline, cls="said"),
        h("div", h("strong", time(case.since, "for")), h("span", "since ", time(case.since), cls="soft"), cls="age"),
        h("div", facts, cls="foot"),
        cls=f"case {case.sign.tone}",
        data_key=case.key,
    )


def _more(shown: Triage) -> Element | None:
    if not shown.more:
        return None
    return h("p", link("/transactions?attention=any", "All that need attention"), cls="pager")


def _counts(shown: Triage) -> Element | None:
    if not shown.counts:
        return None
    links = [
        link(
            count.href,
            icon(count.sign.icon),
            h("strong", f"{count.number:,}"),
            count.sign.word.lower(),
            cls=count.sign.tone,
        )
        for count in shown.counts
    ]
    return h("nav", links, cls="counts", aria_label="All transactions by status")


DRAWN = "triage-drawn"


def draw() -> None:
    """What needs attention now, the worst first."""
    st.set_page_config(page_title="Triage · Sagascope")
    st.session_state.pop(DRAWN, None)
    _live()


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live() -> None:
    incidents, needing = data.incidents(), data.needing_alone()
    if needing.value is None:
        error_states.none_to_show("triage-trouble", needing)
        return
    error_states.outdated("triage-outdated", needing)
    flows, status = data.flows().value, data.status().value
    shown = triage(needing.value, flows, incidents.value)
    note = utc_note(st.context.timezone_offset)
    still = steady(shown, st.session_state.get(DRAWN, ()))
    render("triage", *page(still.shown, note, arrivals(status) if status else None))
    st.session_state[DRAWN] = still.drawn
    if still.news:
        _announce(still.news)


def _announce(news: str) -> None:
    """Beside what is read, which does not move for it."""
    with st.container(key="triage-news"):
        render("triage-news-said", h("p", news, role="status"))
        st.button("Show", key="triage-show", on_click=lambda: st.session_state.pop(DRAWN, None))
