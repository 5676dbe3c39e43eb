"""Elements of a screen, as a tree of plain data that the browser renders.

An element is text, or ``[tag, attributes, *children]``. Text becomes text and nothing else: neither Markdown nor HTML
is ever read in it, and a link leads only within the dashboard. `renderer.js` holds the same rules in the browser.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from sagascope_dashboard.formatting import Sentence, iso
from sagascope_dashboard.palette import Style

Element = str | list[Any]
Child = Element | None | Iterable["Element | None"]


def h(tag: str, *children: Child, **attributes: Any) -> Element:
    """Returns an element. `cls` is its class, ``_`` in a name becomes ``-``; what is None is left out."""
    given = {
        ("class" if name == "cls" else name.rstrip("_").replace("_", "-")): value
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    return [tag, given, *_flat(children)]


def _flat(children: Iterable[Child]) -> Iterator[Element]:
    for child in children:
        if isinstance(child, str) or (isinstance(child, list) and _is_element(child)):
            yield child
        elif child is not None:
            yield from _flat(child)


def _is_element(candidate: list[Any]) -> bool:
    return len(candidate) > 1 and isinstance(candidate[0], str) and isinstance(candidate[1], dict)


def tab_list(label: str, tabs: Mapping[str, str], chosen: str) -> Element:
    """Returns a list of tabs, given their names and labels; a click or an arrow key chooses one by its name."""

    def tab(name: str, text: str) -> Element:
        state = {"aria_selected": str(name == chosen).lower(), "tabindex": "0" if name == chosen else "-1"}
        return h("button", text, type="button", role="tab", data_choice=name, **state)

    return h("div", *(tab(name, text) for name, text in tabs.items()), role="tablist", aria_label=label, cls="tabs")


def link(href: str, *children: Child, **attributes: Any) -> Element:
    """Returns a link within the dashboard.

    Raises:
        ValueError: the link leads elsewhere.
    """
    if not href.startswith("/") or href.startswith("//"):
        raise ValueError(f"not a link within the dashboard: {href[:80]!r}")
    return h("a", *children, href=href, **attributes)


def icon(name: str) -> Element:
    """Returns an icon; the text beside it has the same meaning."""
    return h("icon", name=name, aria_hidden="true")


def badge(style: Style, label: str | None = None) -> Element:
    """Returns the badge of a state: icon, label, colour."""
    return h("span", icon(style.icon), h("span", label or style.label), cls=f"badge {style.tone}")


def table(titles: Iterable[str | Element], rows: Iterable[Element], cls: str = "table cards") -> Element:
    """Returns a table; a title is a text, or the whole cell."""
    heads = [title if isinstance(title, list) else h("th", title, scope="col") for title in titles]
    return h("table", h("thead", h("tr", heads)), h("tbody", rows), cls=cls)


def table_section(
    title: str, titles: Iterable[str | Element], rows: Iterable[Element], note: Element | None = None
) -> Element:
    """Returns a section with a title, a note and one table; a long one scrolls in itself."""
    return h(
        "section", h("h2", title), note, h("div", table(titles, rows), cls="scroll tall", tabindex=0), cls="section"
    )


def message(title: str, *paragraphs: str | Element | None, role: str | None = None) -> Element:
    """Returns the content of a page that has nothing else to show."""
    texts = [h("p", each) if isinstance(each, str) else each for each in paragraphs]
    return h("section", h("h1", title), texts, cls="error-state", role=role)


def time(moment: datetime, form: Literal["clock", "fine", "full", "ago", "for"] = "clock") -> Element:
    """Returns a time that the browser shows in the reader's zone, with UTC in its tooltip.

    ``clock`` is the time of day, with the date unless it is today; ``fine`` has milliseconds, ``full``
    always the date; ``ago`` and ``for`` tick: "12 min ago", "12 min".
    """
    return h("time", iso(moment), datetime=iso(moment), data_as=form)


def sentence(shown: Sentence) -> list[Element]:
    """Returns a sentence with its times in the reader's zone."""
    return [part if isinstance(part, str) else time(part) for part in shown.parts]
