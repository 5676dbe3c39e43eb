"""One transaction type, step by step."""

from collections.abc import Sequence

from sagascope_dashboard.components.elements import Element, h, link, time
from sagascope_dashboard.viewmodels.flow import Between, FlowView, Part, Step, Window
from sagascope_dashboard.viewmodels.paths import PathRow

STEPS = ("Step", "Started", "Failed", "Retried", "Compensated", "In flight", "p50", "p95", "p99")
BETWEEN = ("From the end of one to the start of the next", "Transitions", "p50", "p95", "p99")
PATH_COLUMNS = ("Path of those that ended", "Transactions", "Of all", "Completed", "The latest")
PARTS = ("From", "Ended", "Failed", "p50", "p95", "p99")


def page(known: FlowView) -> list[Element | None]:
    """The whole screen."""
    where = h("span", f" in {known.environment}", cls="soft") if known.environment else None
    head = h("header", h("h1", known.name, where, cls="page-title"), link(known.list_href, "Its transactions"))
    return [
        h("div", head, _windows(known.windows), cls="flow-head"),
        *_steps(known.steps),
        _between(known.between),
        _paths(known.paths),
    ]


def _windows(windows: Sequence[Window]) -> Element:
    choices = [
        h("li", link(window.href, f"last {window.word}", aria_current="true" if window.chosen else None))
        for window in windows
    ]
    return h("nav", h("ul", choices, cls="choices"), aria_label="How far back")


def _steps(steps: Sequence[Step]) -> list[Element]:
    if not steps:
        return [h("p", "No step of it was seen in this time.", cls="nothing", role="status")]
    head = h("tr", [h("th", title, scope="col") for title in STEPS])
    table = h("table", h("thead", head), h("tbody", [_row(step) for step in steps]), cls="table cards")
    over = [_over_time(step) for step in steps]
    return [
        h("section", h("h2", "How many get through, and how fast"), h("div", table, cls="scroll"), cls="section"),
        h("section", h("h2", "Over time"), over, cls="section trends"),
    ]


def _row(step: Step) -> Element:
    bar = h("div", h("span", cls="piece work", data_share=round(step.share, 1)), _rest(step.share), cls="share")
    return h(
        "tr",
        h("td", h("b", link(step.href, step.name)), h("div", step.kind, cls="soft") if step.kind else None, cls="wide"),
        h("td", f"{step.started:,}", bar, cls="num"),
        _figure("failed", step.failed),
        _figure("retried", step.retried),
        _figure("compensated", step.compensated),
        _figure("in flight", f"{step.in_flight:,}" if step.in_flight else ""),
        _figure("p50", step.p50),
        _figure("p95", step.p95),
        _figure("p99", step.p99),
        data_key=f"{step.name} {step.kind}",
    )


def _between(known: Sequence[Between]) -> Element | None:
    if not known:
        return None
    head = h("tr", [h("th", title, scope="col") for title in BETWEEN])
    rows = [
        h(
            "tr",
            h("td", h("b", each.before), " to ", h("b", each.after), h("div", each.trend, cls="soft"), cls="wide"),
            h("td", f"{each.number:,}", cls="num"),
            _figure("p50", each.p50),
            _figure("p95", each.p95),
            _figure("p99", each.p99),
            data_key=f"{each.before} to {each.after}",
        )
        for each in known
    ]
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("section", h("h2", "Between steps"), h("div", table, cls="scroll"), cls="section")


def _paths(known: Sequence[PathRow]) -> Element | None:
    if not known:
        return None
    head = h("tr", [h("th", title, scope="col") for title in PATH_COLUMNS])
    rows = [
        h(
            "tr",
            h("td", h("b", "; ".join(each.differs) or "Usual path"), h("div", each.steps, cls="soft"), cls="wide"),
            h("td", link(each.href, each.number), cls="num"),
            _figure("of all", each.share),
            _figure("completed", each.completed),
            h("td", link(each.newest_href, each.newest, cls="ident")),
            data_key=each.key,
        )
        for each in known
    ]
    table = h("table", h("thead", head), h("tbody", rows), cls="table cards")
    return h("section", h("h2", "Paths"), h("div", table, cls="scroll"), cls="section")


def _figure(what: str, value: str) -> Element:
    """A cell; where cells stand without their heads, on a small screen, it says what it is."""
    return (
        h("td", h("span", value, cls="num"), h("span", f" {what}", cls="soft narrow"), cls="num") if value else h("td")
    )


def _rest(share: float) -> Element:
    return h("span", cls="left", data_share=round(100 - share, 1))


def _over_time(step: Step) -> Element:
    columns = h("span", [_column(part) for part in step.parts], cls="columns", aria_hidden="true")
    head = h("tr", [h("th", title, scope="col") for title in PARTS])
    rows = [_period(part) for part in step.parts if part.ended]
    table = h("table", h("thead", head), h("tbody", rows), cls="table")
    name = h("span", h("b", step.name), h("span", step.trend, cls="soft"), cls="trend-name")
    return h(
        "details",
        h("summary", name, columns),
        h("div", table, cls="scroll", tabindex="0", role="region", aria_label=f"{step.name} over time"),
        cls="trend",
        data_key=f"{step.name} {step.kind}",
    )


def _column(part: Part) -> Element:
    tone = "alarm" if part.marked else "work"
    height = round(part.height, 1)
    return h("span", h("span", data_share=100 - height), h("span", cls=f"fill {tone}", data_share=height), cls="column")


def _period(part: Part) -> Element:
    return h(
        "tr",
        h("td", time(part.at), cls="num"),
        h("td", f"{part.ended:,}", cls="num"),
        [h("td", value, cls="num") for value in (part.failed, part.p50, part.p95, part.p99)],
        data_key=part.at.isoformat(),
    )
