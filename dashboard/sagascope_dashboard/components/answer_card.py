"""One saga: the answer first, then what holds and everything tried."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sagascope_dashboard.components.elements import Element, badge, h, icon, link, time
from sagascope_dashboard.palette import Sign
from sagascope_dashboard.viewmodels.saga import Saga, Stop, Verdict


def answer(shown: Saga, copied: str | None = None, note: str = "") -> list[Element | None]:
    """What to tell the customer, where it stands and why, the plan; `copied` is what the reader can take to a chat.

    Without it there is nothing to copy: the page is a saved one. `note` is said beside the sentences.
    """
    return [_head(shown, copied), _facts(shown), _customer(shown), _verdict(shown, note), _track(shown)]


def _head(shown: Saga, copied: str | None) -> Element:
    tools = _tools(shown, copied) if copied else []
    return h(
        "header",
        h("h1", h("span", f"{shown.name} ", cls="type"), shown.id),
        badge(shown.attention or shown.status),
        badge(shown.status) if shown.attention else None,
        h("div", tools, cls="tools") if tools else None,
        cls="saga-head",
    )


def _tools(shown: Saga, copied: str) -> list[Element]:
    beside = link(shown.compared, "Compare with a finished one", cls="action")
    return [_copy("link", "Copy link", "link"), _copy("copy", "Copy as Markdown", copied), beside]


def _copy(shape: str, words: str, text: str) -> Element:
    return h("button", icon(shape), h("span", words, data_label=True), type="button", data_copy=text, cls="action")


def _facts(shown: Saga) -> Element:
    lasted = h("span", "took ", h("b", shown.lasted)) if shown.lasted else None
    return h(
        "div",
        h("span", "began ", h("b", time(shown.started)), ", ", time(shown.started, "ago")),
        lasted,
        h("span", "last heard ", time(shown.updated, "ago")) if not shown.ended else None,
        h("span", "in ", h("b", shown.environment)) if shown.environment else None,
        [h("span", f"{name} ", link(href, value)) for name, value, href in shown.keys],
        [h("span", "run ", h("b", run.name) if run.current else link(run.href, run.name)) for run in shown.runs],
        cls="facts",
    )


def _customer(shown: Saga) -> Element | None:
    if not shown.customer_line:
        return None
    words = h("div", h("h2", "For the customer"), h("p", shown.customer_line))
    return h("section", icon("person"), words, cls="customer", aria_label="For the customer")


def _verdict(shown: Saga, note: str) -> Element:
    sign = shown.attention or shown.status
    calmly = "" if shown.attention else " calmly"
    return h(
        "section",
        h("p", shown.headline, cls="headline"),
        _under(shown, note),
        _why(shown.verdict) if shown.verdict else None,
        cls=f"verdict {sign.tone}{calmly}",
        aria_label="Where it stands",
    )


def _under(shown: Saga, note: str) -> Element:
    return h(
        "div",
        h("span", h("b", time(shown.since, "for")), " without progress, since ", time(shown.since))
        if shown.since
        else None,
        [h("b", stake) for stake in shown.amount_at_risk],
        h("span", "certainty: ", h("b", shown.verdict.confidence)) if shown.verdict else None,
        h("span", note, cls="soft") if note else None,
        cls="under",
    )


def _why(verdict: Verdict) -> Element:
    proofs = [
        h(
            "li",
            time(proof.at, "fine"),
            h("button", proof.text, type="button", data_jump=proof.span) if proof.span else h("span", proof.text),
        )
        for proof in verdict.evidence
    ]
    todo = [h("li", h("span", action)) for action in verdict.actions]
    return h(
        "div",
        h("div", h("h2", "What is known"), h("ul", proofs, cls="proofs")) if proofs else None,
        h("div", h("h2", "What to do"), h("ol", todo, cls="todo")) if todo else None,
        cls="why",
    )


def _track(shown: Saga) -> Element | None:
    if not shown.track:
        return None
    stops = h("ol", [_stop(stop) for stop in shown.track], cls="track")
    return h("section", h("h2", "The plan, ", shown.plan_source), stops, cls="section")


def _stop(stop: Stop) -> Element:
    place = "current" if stop.current else "" if stop.reached else "ahead"
    done = " done" if stop.sign.word == "Done" else ""
    return h(
        "li",
        h("span", icon(stop.sign.icon), cls="bead"),
        h("div", stop.name, cls="name"),
        h("div", stop.sign.word, ", may be left out" if stop.optional and not stop.reached else None, cls="state"),
        h("div", stop.note, cls="note") if stop.note else None,
        _back(stop.compensation, stop.compensation_sign) if stop.compensation_sign else None,
        cls=f"stop {stop.sign.tone} {place}{done}",
        aria_current="step" if stop.current else None,
    )


def _back(name: str, sign: Sign) -> Element:
    return h("div", icon("undo"), h("span", f"{name}: {sign.word.lower()}"), cls=f"back {sign.tone}")


def ledger(shown: Saga) -> Element | None:
    """What is committed, step by step; None where nothing is known of it."""
    if not shown.ledger:
        return None
    rows = [
        h(
            "tr",
            h("td", h("b", entry.step), cls="wide"),
            h("td", badge(entry.sign)),
            h("td", entry.amount, cls="money"),
            h("td", entry.compensation or h("span", "has no compensation", cls="soft")),
        )
        for entry in shown.ledger
    ]
    titles = (("Step", ""), ("State", ""), ("Amount", "money"), ("Compensated by", ""))
    head = h("tr", [h("th", title, scope="col", cls=cls or None) for title, cls in titles])
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("section", h("h2", "What is committed"), h("div", table, cls="scroll"), cls="section")


def anomalies(shown: Saga) -> Element | None:
    """What should not have happened; None where all went as it should."""
    if not shown.anomalies:
        return None
    items = [h("li", icon("mark"), h("span", text)) for text in shown.anomalies]
    return h("section", h("h2", "Out of the ordinary"), h("ul", items, cls="anomalies"), cls="section")


def attempts(shown: Saga) -> Element:
    """Everything tried, in the order of its start."""
    rows = [
        h(
            "tr",
            h("td", time(one.started, "fine"), cls="num"),
            h("td", h("b", one.step), h("div", one.type, cls="soft") if one.type != "action" else None),
            h("td", str(one.number)),
            h("td", badge(one.sign)),
            h("td", one.lasted or "open", cls="num"),
            h("td", one.service, h("div", one.instance, cls="soft")),
            h("td", one.error, _stack(one.stacktrace), cls="wide"),
        )
        for one in shown.tries
    ]
    titles = ("Started", "Step", "Attempt", "Outcome", "Took", "Where", "Error")
    head = h("tr", [h("th", title, scope="col") for title in titles])
    cut = f"The first {len(shown.tries):,} of {shown.tried:,}." if shown.tried > len(shown.tries) else None
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("div", h("p", cut, cls="soft") if cut else None, table, cls="scroll")


def _stack(stacktrace: str) -> Element | None:
    if not stacktrace:
        return None
    return h("details", h("summary", "Stack trace"), h("pre", stacktrace, tabindex="0"))


def table(rows: Sequence[Mapping[str, Any]], held: int, total: int) -> Element:
    """Spans or log records of a saved page, one a line."""
    titles = list(rows[0]) if rows else []
    head = h("tr", [h("th", title, scope="col") for title in titles])
    body = [h("tr", [h("td", _cell(row[title])) for title in titles]) for row in rows]
    cut = h("p", f"The first {held:,} of {total:,}.", cls="soft") if held < total else None
    return h("div", cut, h("table", h("thead", head), h("tbody", body), cls="table"), cls="scroll", tabindex="0")


def _cell(value: Any) -> Element:
    return time(value, "fine") if isinstance(value, datetime) else str(value)
