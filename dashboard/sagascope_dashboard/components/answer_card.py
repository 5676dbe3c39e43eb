"""The answer card of one saga, and the tables behind it: ledger, anomalies, attempts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sagascope_dashboard.components.elements import Element, badge, h, icon, link, table, table_section, time
from sagascope_dashboard.palette import Style
from sagascope_dashboard.viewmodels.saga import PlanStep, SagaView, Verdict


def answer_card(view: SagaView, markdown: str | None = None, note: str = "") -> list[Element | None]:
    """Builds the card: the text for the customer, headline, evidence, recommended action, and plan.

    `markdown` is what "Copy as Markdown" copies; None on a saved page, which has no tools. `note` follows the headline.
    """
    return [_header(view, markdown), _facts(view), _customer(view), _verdict(view, note), _plan(view)]


def _header(view: SagaView, markdown: str | None) -> Element:
    tools = _tools(view, markdown) if markdown else []
    return h(
        "header",
        h("h1", h("span", f"{view.name} ", cls="type"), view.id),
        badge(view.attention or view.status),
        badge(view.status) if view.attention else None,
        h("div", tools, cls="tools") if tools else None,
        cls="saga-head",
    )


def _tools(view: SagaView, markdown: str) -> list[Element]:
    compare = link(view.compare_href, "Compare with a completed one", cls="action")
    return [_copy("link", "Copy link", "link"), _copy("copy", "Copy as Markdown", markdown), compare]


def _copy(icon_name: str, label: str, text: str) -> Element:
    return h("button", icon(icon_name), h("span", label, data_label=True), type="button", data_copy=text, cls="action")


def _facts(view: SagaView) -> Element:
    duration = h("span", "took ", h("b", view.duration)) if view.duration else None
    return h(
        "div",
        h("span", "started ", h("b", time(view.started)), ", ", time(view.started, "ago")),
        duration,
        h("span", "last seen ", time(view.updated, "ago")) if not view.ended else None,
        h("span", "in ", h("b", view.environment)) if view.environment else None,
        [h("span", f"{name} ", link(href, value)) for name, value, href in view.keys],
        [h("span", "run ", h("b", run.name) if run.current else link(run.href, run.name)) for run in view.runs],
        cls="facts",
    )


def _customer(view: SagaView) -> Element | None:
    if not view.customer_line:
        return None
    label = h("div", h("h2", "For the customer"), h("p", view.customer_line))
    return h("section", icon("person"), label, cls="customer", aria_label="For the customer")


def _verdict(view: SagaView, note: str) -> Element:
    style = view.attention or view.status
    calm = "" if view.attention else " calm"
    return h(
        "section",
        h("p", view.headline, cls="headline"),
        _verdict_facts(view, note),
        _evidence_and_actions(view.verdict) if view.verdict else None,
        cls=f"verdict {style.tone}{calm}",
        aria_label="Verdict",
    )


def _verdict_facts(view: SagaView, note: str) -> Element:
    return h(
        "div",
        h("span", h("b", time(view.since, "for")), " without progress, since ", time(view.since))
        if view.since
        else None,
        [h("b", amount) for amount in view.amount_at_risk],
        h("span", "confidence: ", h("b", view.verdict.confidence)) if view.verdict else None,
        h("span", note, cls="muted") if note else None,
        cls="verdict-facts",
    )


def _evidence_and_actions(verdict: Verdict) -> Element:
    evidence = [
        h(
            "li",
            time(fact.at, "fine"),
            h("button", fact.text, type="button", data_jump=fact.span) if fact.span else h("span", fact.text),
        )
        for fact in verdict.evidence
    ]
    actions = [h("li", h("span", action)) for action in verdict.actions]
    return h(
        "div",
        h("div", h("h2", "Evidence"), h("ul", evidence, cls="evidence-list")) if evidence else None,
        h("div", h("h2", "Recommended action"), h("ol", actions, cls="action-list")) if actions else None,
        cls="evidence-and-actions",
    )


def _plan(view: SagaView) -> Element | None:
    if not view.plan_steps:
        return None
    steps = h("ol", [_plan_step(step) for step in view.plan_steps], cls="plan")
    return h("section", h("h2", "Plan, ", view.plan_source), steps, cls="section")


def _plan_step(step: PlanStep) -> Element:
    position = "current" if step.current else "" if step.reached else "not-reached"
    done = " done" if step.style.label == "Done" else ""
    return h(
        "li",
        h("span", icon(step.style.icon), cls="plan-icon"),
        h("div", step.name, cls="name"),
        h("div", step.style.label, ", optional" if step.optional and not step.reached else None, cls="state"),
        h("div", step.note, cls="note") if step.note else None,
        _compensation(step.compensation, step.compensation_style) if step.compensation_style else None,
        cls=f"plan-step {step.style.tone} {position}{done}",
        aria_current="step" if step.current else None,
    )


def _compensation(name: str, style: Style) -> Element:
    return h("div", icon("compensating"), h("span", f"{name}: {style.label.lower()}"), cls=f"compensation {style.tone}")


def ledger(view: SagaView) -> Element | None:
    """Builds the table of committed steps; None without any."""
    if not view.ledger:
        return None
    rows = [
        h(
            "tr",
            h("td", h("b", entry.step), cls="wide"),
            h("td", badge(entry.style)),
            h("td", entry.amount, cls="money"),
            h("td", entry.compensation or h("span", "has no compensation", cls="muted")),
        )
        for entry in view.ledger
    ]
    amount = h("th", "Amount", scope="col", cls="money")
    return table_section("Committed steps", ("Step", "State", amount, "Compensated by"), rows)


def anomalies(view: SagaView) -> Element | None:
    """Builds the list of anomalies; None without any."""
    if not view.anomalies:
        return None
    items = [h("li", icon("mark"), h("span", text)) for text in view.anomalies]
    return h("section", h("h2", "Anomalies"), h("ul", items, cls="anomalies"), cls="section")


def attempts(view: SagaView) -> Element:
    """Builds the table of attempts, in the order of their start."""
    rows = [
        h(
            "tr",
            h("td", time(attempt.started, "fine"), cls="num"),
            h("td", h("b", attempt.step), h("div", attempt.type, cls="muted") if attempt.type != "action" else None),
            h("td", str(attempt.number)),
            h("td", badge(attempt.style)),
            h("td", attempt.duration or "open", cls="num"),
            h("td", attempt.service, h("div", attempt.instance, cls="muted")),
            h("td", attempt.error, _stack(attempt.stacktrace), cls="wide"),
        )
        for attempt in view.attempts
    ]
    titles = ("Started", "Step", "Attempt", "Outcome", "Duration", "Where", "Error")
    return h("div", _cut(len(view.attempts), view.attempts_total), table(titles, rows), cls="scroll")


def _stack(stacktrace: str) -> Element | None:
    if not stacktrace:
        return None
    return h("details", h("summary", "Stack trace"), h("pre", stacktrace, tabindex="0"))


def records(rows: Sequence[Mapping[str, Any]], total: int) -> Element:
    """Builds the table of spans or log records of a saved page."""
    titles = list(rows[0]) if rows else []
    body = [h("tr", [h("td", _cell(row[title])) for title in titles]) for row in rows]
    return h("div", _cut(len(rows), total), table(titles, body, "table"), cls="scroll", tabindex="0")


def _cut(shown: int, total: int) -> Element | None:
    return h("p", f"The first {shown:,} of {total:,}.", cls="muted") if shown < total else None


def _cell(value: Any) -> Element:
    return time(value, "fine") if isinstance(value, datetime) else str(value)
