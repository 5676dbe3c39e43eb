"""Transactions: what narrows the list, its page, and the way to the next."""

from sagascope_dashboard.components.elements import Element, badge, h, link, time
from sagascope_dashboard.filters import Filters
from sagascope_dashboard.viewmodels.transactions import Column, Row, Transactions


def chips(filters: Filters) -> Element | None:
    """What narrows the list and has no field of its own."""
    words: list[Element] = []
    if filters.q:
        words.append(link(filters.having(q="").href(), f"Matching “{filters.q[:80]}” ✕", cls="action"))
    if filters.until:
        words.append(link(filters.having(until="").href(), f"Started before {filters.until[:40]} ✕", cls="action"))
    if filters.incident:
        words.append(link(filters.having(incident="").href(), "Of one incident ✕", cls="action"))
    if filters.course:
        words.append(link(filters.having(course="").href(), "Of one course ✕", cls="action"))
    if filters.narrows():
        words.append(link("/transactions", "Clear all", cls="action"))
    return h("p", words, cls="chips") if words else None


def page(shown: Transactions) -> list[Element | None]:
    """One page of the list, or why it is empty."""
    return [_table(shown), _pager(shown)]


def _table(shown: Transactions) -> Element:
    if shown.nothing:
        return h("p", shown.nothing, cls="nothing", role="status")
    return h(
        "table",
        h("thead", h("tr", [_heading(column) for column in shown.columns])),
        h("tbody", [_row(row) for row in shown.rows]),
        cls="list",
    )


def _heading(column: Column) -> Element:
    if column.href is None:
        return h("th", column.title, scope="col")
    return h("th", link(column.href, column.title), scope="col", aria_sort=column.order)


def _row(row: Row) -> Element:
    return h(
        "tr",
        h("td", badge(row.reason or row.sign)),
        h(
            "td",
            link(row.href, f"{row.name} ", h("span", row.id, cls="ident")),
            h("span", row.headline, cls="said") if row.reason else None,
            cls="who",
        ),
        h("td", row.where or None, cls="where"),
        h("td", ", ".join(row.amount_at_risk) or None, cls="stake"),
        h("td", row.lasted or None, cls="num"),
        h("td", time(row.started, "ago"), cls="num"),
        data_key=row.key,
    )


def _pager(shown: Transactions) -> Element | None:
    links = [
        link(shown.first_href, "First page", cls="action") if shown.first_href else None,
        link(shown.next_href, "Next page", cls="action") if shown.next_href else None,
    ]
    return h("nav", links, cls="pager", aria_label="Pages") if any(links) else None
