"""Triage: the start page."""

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.nodes import Node, badge, h, icon, link, time
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.viewmodels.triage import Case, Triage, triage

EVERY = 1.5
"""Seconds between two looks at the collector."""


def draw() -> None:
    """Who needs someone now, the worst first; or that nobody does."""
    st.set_page_config(page_title="Triage · Sagascope")
    _live()


@st.fragment(run_every=EVERY)
def _live() -> None:
    needing, flows = data.needing_someone(), data.flows()
    if needing.value is None:
        if needing.trouble:
            trouble.none_to_show("triage-trouble", needing.trouble)
        return
    trouble.outdated("triage-outdated", needing)
    shown = triage(needing.value, flows.value)
    paper("triage", _top(shown), _cases(shown), _more(shown), _counts(shown))


def _top(shown: Triage) -> Node:
    if shown.calm:
        return h("header", icon("check"), h("h1", shown.title), h("p", _calm_words(shown), cls="soft"), cls="calm")
    return h("header", h("h1", shown.title), h("p", "the worst first", cls="soft"), cls="needed")


def _calm_words(shown: Triage) -> str:
    running = next((count.number for count in shown.counts if count.sign.word == "Running"), 0)
    if not any(count.number for count in shown.counts):
        return "No transaction has been received yet. They appear here by themselves."
    return f"{running:,} running, every one of them in time." if running else "Every transaction has come to its end."


def _cases(shown: Triage) -> Node | None:
    return h("div", [_case(case) for case in shown.cases], cls="cases") if shown.cases else None


def _case(case: Case) -> Node:
    where = " in ".join(part for part in (case.step, case.service) if part)
    facts = [
        *[h("span", stake, cls="stake") for stake in case.exposure],
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


def _more(shown: Triage) -> Node | None:
    if not shown.more:
        return None
    return h("p", link("/transactions?attention=any", "All that need someone"), cls="pager")


def _counts(shown: Triage) -> Node | None:
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
