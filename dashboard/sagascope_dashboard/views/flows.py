"""The transaction types, each with a bar of how theirs stand."""

from collections.abc import Sequence

from sagascope_dashboard.components.elements import Element, h, icon, link
from sagascope_dashboard.viewmodels.flows import Flow, Part


def page(known: Sequence[Flow]) -> list[Element]:
    """The whole screen."""
    title = h("h1", "Flows", cls="page-title")
    if not known:
        words = "No transaction has been received yet. Their types appear here by themselves."
        return [title, h("p", words, cls="nothing", role="status")]
    return [title, h("div", [_flow(flow) for flow in known], cls="flows")]


def _flow(flow: Flow) -> Element:
    name = link(flow.href, flow.name, f" in {flow.environment}" if flow.environment else None)
    needed = f"{flow.attention:,} {'needs' if flow.attention == 1 else 'need'} attention"
    return h(
        "section",
        h("header", h("h2", name), h("span", f"{flow.total:,} in all", cls="soft"), _needed(flow, needed)),
        h("div", [_piece(part) for part in flow.parts if part.number], cls="share", aria_hidden="true"),
        h("ul", [_part(part) for part in flow.parts], cls="counts"),
        cls="flow",
        data_key=flow.key,
    )


def _needed(flow: Flow, words: str) -> Element | None:
    return link(flow.attention_href, icon("mark"), words, cls="badge alarm") if flow.attention else None


def _piece(part: Part) -> Element:
    return h("span", cls=f"piece {part.sign.tone}", data_share=round(part.share, 1))


def _part(part: Part) -> Element:
    words = (icon(part.sign.icon), h("strong", f"{part.number:,}"), part.sign.word.lower())
    return h("li", link(part.href, *words, cls=part.sign.tone))
