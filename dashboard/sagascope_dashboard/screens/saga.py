"""One saga: what to tell the customer, where it stands and why, and everything behind it."""

import streamlit as st

from sagascope_collector import wire
from sagascope_dashboard import data
from sagascope_dashboard.components.nodes import Node, badge, h, icon, link, time
from sagascope_dashboard.components.paper import paper
from sagascope_dashboard.components.timeline import timeline as draw_timeline
from sagascope_dashboard.filters import SagaAddress
from sagascope_dashboard.palette import Sign
from sagascope_dashboard.screens import trouble
from sagascope_dashboard.screens.triage import EVERY
from sagascope_dashboard.viewmodels.saga import Saga, Stop, Verdict, log_rows, saga, span_rows
from sagascope_dashboard.viewmodels.timeline import living, timeline


def draw() -> None:
    """The saga that the address names."""
    address = SagaAddress.read(st.query_params.to_dict())
    if address is None:
        st.set_page_config(page_title="Transaction · Sagascope")
        paper("saga-which", h("section", h("h1", "Which transaction?"), h("p", "Type its id above."), cls="trouble"))
        return
    st.set_page_config(page_title=f"{address.id[:60]} · Sagascope")
    _live(address)


@st.fragment(run_every=EVERY)
def _live(address: SagaAddress) -> None:
    reading = data.saga(address)
    if reading.value is None:
        if reading.trouble:
            trouble.none_to_show("saga-trouble", reading.trouble)
        return
    trouble.outdated("saga-outdated", reading)
    whole, shown = reading.value, saga(reading.value)
    paper("saga-top", *_top(shown))
    draw_timeline("saga-timeline", timeline(whole, living(data.services().value)))
    paper("saga-below", _ledger(shown), _anomalies(shown))
    _tables(whole, shown)


# --- the answer ------------------------------------------------------------------------------------


def _top(shown: Saga) -> list[Node | None]:
    return [_head(shown), _facts(shown), _customer(shown), _verdict(shown), _track(shown), _timeline_title()]


def _head(shown: Saga) -> Node:
    return h(
        "header",
        h("h1", h("span", f"{shown.name} ", cls="type"), shown.id),
        badge(shown.attention or shown.status),
        badge(shown.status) if shown.attention else None,
        h(
            "div",
            h(
                "button",
                icon("link"),
                h("span", "Copy link", data_label=True),
                type="button",
                data_copy="link",
                cls="action",
            ),
            cls="tools",
        ),
        cls="saga-head",
    )


def _facts(shown: Saga) -> Node:
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


def _customer(shown: Saga) -> Node | None:
    if not shown.customer_line:
        return None
    words = h("div", h("h2", "For the customer"), h("p", shown.customer_line))
    return h("section", icon("person"), words, cls="customer", aria_label="For the customer")


def _verdict(shown: Saga) -> Node:
    sign = shown.attention or shown.status
    calmly = "" if shown.attention else " calmly"
    return h(
        "section",
        h("p", shown.headline, cls="headline"),
        _under(shown) if shown.attention else None,
        _why(shown.verdict) if shown.verdict else None,
        cls=f"verdict {sign.tone}{calmly}",
        aria_label="Where it stands",
    )


def _under(shown: Saga) -> Node:
    return h(
        "div",
        h("span", h("b", time(shown.since, "for")), " without progress, since ", time(shown.since))
        if shown.since
        else None,
        [h("b", stake) for stake in shown.exposure],
        h("span", "certainty: ", h("b", shown.verdict.confidence)) if shown.verdict else None,
        cls="under",
    )


def _why(verdict: Verdict) -> Node:
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


def _track(shown: Saga) -> Node | None:
    if not shown.track:
        return None
    stops = h("ol", [_stop(stop) for stop in shown.track], cls="track")
    return h("section", h("h2", "The plan, ", shown.plan_source), stops, cls="section")


def _stop(stop: Stop) -> Node:
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


def _back(name: str, sign: Sign) -> Node:
    return h("div", icon("undo"), h("span", f"{name}: {sign.word.lower()}"), cls=f"back {sign.tone}")


def _timeline_title() -> Node:
    return h("h2", "The timeline", cls="section")


# --- behind it -------------------------------------------------------------------------------------


def _ledger(shown: Saga) -> Node | None:
    if not shown.ledger:
        return None
    rows = [
        h(
            "tr",
            h("td", h("b", entry.step), cls="wide"),
            h("td", badge(entry.sign)),
            h("td", entry.amount, cls="money"),
            h("td", entry.compensation or h("span", "has no undo", cls="soft")),
        )
        for entry in shown.ledger
    ]
    titles = (("Step", ""), ("What holds", ""), ("Amount", "money"), ("Undone by", ""))
    head = h("tr", [h("th", title, scope="col", cls=cls or None) for title, cls in titles])
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("section", h("h2", "What is in force"), h("div", table, cls="scroll"), cls="section")


def _anomalies(shown: Saga) -> Node | None:
    if not shown.anomalies:
        return None
    items = [h("li", icon("mark"), h("span", text)) for text in shown.anomalies]
    return h("section", h("h2", "Out of the ordinary"), h("ul", items, cls="anomalies"), cls="section")


def _tables(whole: wire.Saga, shown: Saga) -> None:
    names = [f"Attempts ({shown.tried:,})", f"Logs ({whole.logs_total:,})", f"Spans ({whole.spans_total:,})"]
    attempts, logs, spans = st.tabs(names, on_change="rerun", key="saga-tables")
    if attempts.open:
        with attempts:
            cut = f"The first {len(shown.tries):,} of {shown.tried:,}." if shown.tried > len(shown.tries) else None
            paper("saga-attempts", h("p", cut, cls="soft") if cut else None, _tries(shown))
    if logs.open:
        with logs:
            _frame("saga-logs", log_rows(whole.logs), len(whole.logs), whole.logs_total)
    if spans.open:
        with spans:
            _frame("saga-spans", span_rows(whole.spans), len(whole.spans), whole.spans_total)


def _tries(shown: Saga) -> Node:
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
    titles = ("Began", "Step", "Attempt", "Outcome", "Took", "Where", "Error")
    head = h("tr", [h("th", title, scope="col") for title in titles])
    return h("div", h("table", h("thead", head), h("tbody", rows), cls="table cards"), cls="scroll")


def _stack(stacktrace: str) -> Node | None:
    if not stacktrace:
        return None
    return h("details", h("summary", "Stack trace"), h("pre", stacktrace, tabindex="0"))


def _frame(key: str, rows: list[dict[str, object]], held: int, total: int) -> None:
    if held < total:
        paper(f"{key}-cut", h("p", f"The first {held:,} of {total:,}.", cls="soft"))
    moments = {name: st.column_config.DatetimeColumn(format="HH:mm:ss.SSS") for name in ("At", "Started")}
    st.dataframe(rows, key=key, hide_index=True, column_config=moments)
