"""The answer card of one saga, and the tables behind it: ledger, anomalies, attempts."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sagascope_collector.client import schemas
from sagascope_dashboard.components.elements import Element, badge, h, icon, key_values, link, sentence, table, time
from sagascope_dashboard.formatting import ATTEMPT, CONFIDENCE, Style, amount, block, line, took
from sagascope_dashboard.urls import COMPARE, Filters, SagaAddress
from sagascope_dashboard.viewmodels.records import RecordView
from sagascope_dashboard.viewmodels.saga import (
    PlanGroup,
    PlanStep,
    SagaView,
    ledger_label,
    ledger_style,
    step_id,
    step_label,
)


def answer_card(view: SagaView, markdown: str | None = None) -> list[Element | None]:
    """Builds the card: the text for the customer, headline, evidence and recommended action.

    `markdown` is what "Copy as Markdown" copies; None on a saved page, which has no tools.
    """
    return [_header(view, markdown), _facts(view), _customer(view.saga), _verdict(view)]


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
    href = SagaAddress(view.saga.name, view.saga.id, view.saga.environment, view.saga.run).href(COMPARE)
    compare = link(href, "Compare with a completed one", cls="action")
    return [_copy("link", "Copy link", "link"), _copy("copy", "Copy as Markdown", markdown), compare]


def _copy(icon_name: str, label: str, text: str) -> Element:
    return h("button", icon(icon_name), h("span", label, data_label=True), type="button", data_copy=text, cls="action")


def _facts(view: SagaView) -> Element:
    saga = view.saga
    return h(
        "div",
        h("span", "started ", h("b", time(saga.started_at)), ", ", time(saga.started_at, "ago")),
        h("span", "took ", h("b", took(saga.started_at, saga.ended_at))) if saga.ended_at else None,
        h("span", "last seen ", time(saga.updated_at, "ago")) if not saga.ended_at else None,
        h("span", "in ", h("b", line(saga.environment, 60))) if saga.environment else None,
        [
            h("span", f"{line(name, 40)} ", link(Filters(q=key).href(), line(key, 80)))
            for name, key in saga.keys.items()
        ],
        [_run(saga, run) for run in saga.runs] if len(saga.runs) > 1 else None,
        cls="facts",
    )


def _run(saga: schemas.Saga, run: str) -> Element:
    name, address = line(run, 40) or "without a run id", SagaAddress(saga.name, saga.id, saga.environment or None, run)
    return h("span", "run ", h("b", name) if run == saga.run else link(address.href(), name))


def _customer(saga: schemas.Saga) -> Element | None:
    if not saga.customer_line:
        return None
    text = sentence(saga.customer_line, saga.customer_line_parts, 600)
    label = h("div", h("h2", "For the customer"), h("p", text))
    return h("section", icon("person"), label, cls="customer", aria_label="For the customer")


def _verdict(view: SagaView) -> Element:
    saga, style = view.saga, view.attention or view.status
    calm = "" if view.attention else " calm"
    return h(
        "section",
        h("p", sentence(saga.headline, saga.headline_parts, 800), cls="headline"),
        _verdict_facts(view),
        _evidence_and_actions(saga.verdict) if saga.verdict else None,
        cls=f"verdict {style.tone}{calm}",
        aria_label="Verdict",
    )


def _verdict_facts(view: SagaView) -> Element:
    since, verdict = view.saga.since, view.saga.verdict
    return h(
        "div",
        h("span", h("b", time(since, "for")), " without progress, since ", time(since)) if since else None,
        [h("b", amount) for amount in view.amount_at_risk],
        h("span", "confidence: ", h("b", CONFIDENCE[verdict.confidence])) if verdict else None,
        cls="verdict-facts",
    )


def _evidence_and_actions(verdict: schemas.Verdict) -> Element:
    evidence = [h("li", time(fact.at, "fine"), _fact(fact)) for fact in verdict.evidence]
    actions = [
        h("li", h("span", sentence(text, parts, 600)))
        for text, parts in zip(verdict.actions, verdict.actions_parts, strict=True)
    ]
    return h(
        "div",
        h("div", h("h2", "Evidence"), h("ul", evidence, cls="evidence-list")) if evidence else None,
        h("div", h("h2", "Recommended action"), h("ol", actions, cls="action-list")) if actions else None,
        cls="evidence-and-actions",
    )


def _fact(fact: schemas.Evidence) -> Element:
    """Returns a received fact, which leads to the bar of its span in the timeline."""
    text = sentence(fact.text, fact.text_parts, 400)
    return h("button", text, type="button", data_jump=fact.span_id) if fact.span_id else h("span", text)


def plan(view: SagaView, max_steps: int | None = None) -> Element | None:
    """Builds the plan, in short if it has many steps and with `max_steps` of them at most; None without any."""
    if not view.plan_steps:
        return None
    first, listed = _listed_steps(view.plan_steps, max_steps or len(view.plan_steps))
    is_branched = any(step.row for step in listed)
    left = min(step.column for step in listed)
    steps = h("ol", [_plan_step(step, left) for step in listed], cls="plan branched" if is_branched else "plan")
    title = h("h2", "Plan, ", view.plan_source)
    if not view.plan_groups:
        return h("section", title, steps, cls="section")
    groups = h("ol", [_plan_group(group) for group in view.plan_groups], cls="plan-groups")
    total = len(view.plan_steps)
    summary = (
        f"Steps {first + 1:,} to {first + len(listed):,} of {total:,}"
        if len(listed) < total
        else f"All {total:,} steps"
    )
    details = h("details", h("summary", summary), h("div", steps, cls="plan-steps"))
    return h("section", title, h("div", groups, details, cls="plan-short"), cls="section")


MAX_PLAN_STEPS: Final = 500
"""Steps of the plan that a page lists; the filter finds the others."""


def _listed_steps(steps: Sequence[PlanStep], number: int) -> tuple[int, Sequence[PlanStep]]:
    """Returns the index of the first listed step, and the listed ones: those around the current or a failed step."""
    failed = next((index for index, step in enumerate(steps) if step.style.tone == "alarm"), 0)
    current = next((index for index, step in enumerate(steps) if step.current), failed)
    first = max(0, min(current - number // 2, len(steps) - number))
    return first, steps[first : first + number]


def _plan_group(group: PlanGroup) -> Element:
    current = "step" if group.current else None
    return h("li", icon(group.style.icon), h("span", group.text), cls=f"badge {group.style.tone}", aria_current=current)


def _plan_step(step: PlanStep, left: int) -> Element:
    position = "current" if step.current else "" if step.reached else "not-reached"
    done = " done" if step.style.label == "Done" else ""
    return h(
        "li",
        h("span", icon(step.style.icon), cls="plan-icon"),
        h("div", step.name, cls="name"),
        h("div", step.style.label, ", optional" if step.optional and not step.reached else None, cls="state"),
        h("div", step.note, cls="note") if step.note else None,
        h("div", "after ", " and ".join(step.waits_for), cls="note") if step.waits_for else None,
        _repetitions(step.repetitions) if step.repetitions else None,
        h("div", "child ", [[link(href, child), " "] for child, href in step.children[:MAX_LISTED]], cls="note")
        if step.children
        else None,
        _compensation(step.compensation, step.compensation_style) if step.compensation_style else None,
        cls=f"plan-step {step.style.tone} {position}{done}",
        aria_current="step" if step.current else None,
        data_column=step.column - left + 1,
        data_row=step.row + 1,
    )


MAX_LISTED = 50
"""Items of a loop, and child sagas, that a step of the plan names."""


def _repetitions(items: Sequence[tuple[str, Style]]) -> Element:
    counts = Counter(style.label for _, style in items)
    text = ", ".join(f"{number:,} {label.lower()}" for label, number in counts.most_common())
    listed = [
        h("li", icon(style.icon), h("span", f"{key}: {style.label.lower()}"), cls=style.tone)
        for key, style in items[:MAX_LISTED]
    ]
    more = h("li", f"and {len(items) - MAX_LISTED:,} more") if len(items) > MAX_LISTED else None
    summary = h("summary", icon("again"), h("span", f"{len(items):,} items: {text}"))
    return h("details", summary, h("ul", listed, more), cls="note repetitions")


def _compensation(name: str, style: Style) -> Element:
    return h("div", icon("compensating"), h("span", f"{name}: {style.label.lower()}"), cls=f"compensation {style.tone}")


def ledger(view: SagaView) -> Element | None:
    """Builds the table of committed steps; None without any."""
    if not view.ledger:
        return None
    rows = [
        h(
            "tr",
            h("td", h("b", ledger_label(entry)), cls="wide"),
            h("td", badge(ledger_style(entry, view.saga.status))),
            h("td", amount(entry.amount, entry.currency), cls="money"),
            h("td", line(entry.compensation, 80) or h("span", "has no compensation", cls="muted")),
        )
        for entry in view.ledger
    ]
    title = h("th", "Amount", scope="col", cls="money")
    cut = _cut(len(view.ledger), len(view.saga.ledger))
    body = table(("Step", "State", title, "Compensated by"), rows)
    return h("section", h("h2", "Committed steps"), cut, h("div", body, cls="scroll tall", tabindex=0), cls="section")


def anomalies(view: SagaView) -> Element | None:
    """Builds the list of anomalies; None without any."""
    found = view.saga.anomalies
    items = [h("li", icon("mark"), h("span", sentence(each.text, each.text_parts, 400))) for each in found]
    if not items:
        return None
    return h("section", h("h2", "Anomalies"), h("ul", items, cls="anomalies"), cls="section")


def attempts(view: SagaView) -> Element:
    """Builds the table of attempts, in the order of their start, repetitions folded."""
    rows = [
        _folded(step, each) if isinstance(each, schemas.FoldedAttempts) else _attempt(step, each, view.unfolded)
        for step, each in view.attempts
    ]
    titles = ("Started", "Step", "Attempt", "Outcome", "Duration", "Where", "Error")
    return h("div", _cut(len(view.attempts), view.rows_total), table(titles, rows), cls="scroll")


def _attempt(step: schemas.Step, attempt: schemas.Attempt, unfolded: Collection[str]) -> Element:
    key, error = step_id(step), attempt.error
    fold = h("button", "fold", type="button", cls="link", data_choice=key) if key in unfolded else None
    stack = h("pre", block(error.stacktrace), tabindex="0") if error and error.stacktrace else None
    return h(
        "tr",
        h("td", time(attempt.started_at, "fine"), cls="num"),
        h(
            "td",
            h("b", step_label(step)),
            h("div", line(step.type, 20), cls="muted") if step.type != "action" else None,
        ),
        h("td", str(attempt.number), " ", fold),
        h("td", badge(ATTEMPT[attempt.state])),
        h("td", took(attempt.started_at, attempt.ended_at) or "open", cls="num"),
        h("td", line(attempt.service or step.service, 60), h("div", line(attempt.instance, 60), cls="muted")),
        h(
            "td",
            ": ".join(line(part, 400) for part in (error.type, error.message) if part) if error else "",
            h("details", h("summary", "Stack trace"), stack) if stack else None,
            cls="wide",
        ),
    )


def _folded(step: schemas.Step, folded: schemas.FoldedAttempts) -> Element:
    started = folded.attempts[0].started_at
    return h(
        "tr",
        h("td", time(started, "fine"), cls="num"),
        h("td", h("b", step_label(step))),
        h("td", h("button", folded.text, type="button", cls="link", data_choice=step_id(step)), colspan=2),
        h("td", took(started, folded.attempts[-1].ended_at), cls="num"),
        h("td", colspan=2),
        cls="folded",
    )


def record(view: RecordView, span: str = "", *, on_timeline: bool = True) -> Element:
    """Builds a span or a log line in full: what is known of it, its attributes, and the events of a span.

    `span` is the choice that leads from a log line to its span; `on_timeline` offers to show it there.
    """
    buttons = [
        h("button", "Show on the timeline", type="button", cls="action", data_jump=view.span_id)
        if view.span_id and on_timeline
        else None,
        h("button", "Show its span", type="button", cls="action", data_choice=span) if span else None,
    ]
    events = [
        h("li", time(at, "fine"), " ", h("b", name), key_values(attributes)) for at, name, attributes in view.events
    ]
    return h(
        "article",
        h("h3", view.title),
        h("div", time(view.at, "full"), buttons, cls="row-facts"),
        key_values(view.facts),
        h("h2", "Attributes") if view.attributes else None,
        key_values(view.attributes),
        h("h2", "Events") if events else None,
        h("ul", events) if events else None,
        cls="record",
    )


def records(rows: Sequence[Mapping[str, Any]], total: int) -> Element:
    """Builds the table of spans or log records of a saved page."""
    titles = list(rows[0]) if rows else []
    body = [
        h("tr", [h("td", time(cell, "fine") if isinstance(cell, datetime) else str(cell)) for cell in row.values()])
        for row in rows
    ]
    return h("div", _cut(len(rows), total), table(titles, body, "table"), cls="scroll", tabindex="0")


def _cut(shown: int, total: int) -> Element | None:
    return h("p", f"The first {shown:,} of {total:,}.", cls="muted") if shown < total else None
