"""Triage: a calm word, or the cases, the worst first."""

from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.viewmodels.services import Arrivals
from sagascope_dashboard.viewmodels.triage import Case, Triage
from sagascope_dashboard.views import incidents
from sagascope_dashboard.views.services import notices


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
