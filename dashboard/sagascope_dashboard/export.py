"""One saga as an HTML file that opens without any network, and as Markdown for a chat or an issue."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.components.answer_card import anomalies, answer_card, attempts, ledger, plan, records
from sagascope_dashboard.components.elements import (
    RENDERER_SCRIPTS,
    TIMELINE_SCRIPTS,
    Element,
    h,
    plain,
    read_files,
    time,
)
from sagascope_dashboard.formatting import amount, epoch_ms, line
from sagascope_dashboard.urls import SagaAddress
from sagascope_dashboard.viewmodels.records import log_rows, own_logs, span_rows, span_tree
from sagascope_dashboard.viewmodels.saga import SagaView, every_step, ledger_label, ledger_style, saga_view
from sagascope_dashboard.viewmodels.timeline import Timeline

_THEME = Path(__file__).parent / ".streamlit" / "config.toml"

_PAGE = """<!doctype html>
<html lang="en" data-present="{present}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main><div id="answer"></div><div id="timeline"></div><div id="behind"></div></main>
<script type="application/json" id="data">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""

_BODY = """
body { margin: 0; background: var(--st-background-color); }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
"""

_START = "const saved = JSON.parse(document.getElementById('data').textContent);\n"


def as_html(saga: schemas.Saga, lanes: Timeline, now: datetime) -> str:
    """Returns the page of one saga as of `now`; it loads nothing from elsewhere."""
    view = saga_view(saga, every_step(saga))
    title = h("h2", "Timeline", cls="section")
    trees = {
        "answer": {"tree": _without_links([_saved_at(now), *answer_card(view), plan(view), title])},
        "timeline": plain(lanes),
        "behind": {"tree": _without_links([ledger(view), anomalies(view), *_tables(saga, view)])},
    }
    return _PAGE.format(
        present=epoch_ms(now),
        title=escape(f"{line(saga.name, 60)} {line(saga.id, 120)}"),
        style=_variables() + _BODY + read_files("renderer.css", "timeline.css"),
        data=json.dumps(trees).replace("<", "\\u003c"),  # no received text can end the script element
        script=_START + "".join(_component_scripts()),
    )


def file_name(saga: SagaAddress) -> str:
    """Returns a file name of letters, digits and hyphens."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', f'{saga.name} {saga.id}').strip('-')[:80] or 'saga'}.html"


def _saved_at(now: datetime) -> Element:
    switch = h("button", "Times in UTC", type="button", cls="action", data_zone="utc", aria_pressed="false")
    return h("p", "Saved ", time(now, "full"), ", as it stood then. ", switch, cls="muted")


def _tables(saga: schemas.Saga, view: SagaView) -> Iterator[Element]:
    yield _details("Attempts", attempts(view))
    yield _details("Logs", records(log_rows(logs := own_logs(saga.logs)), len(logs)))
    yield _details("Spans", records(span_rows(span_tree(saga.spans)), saga.spans_total))


def _details(title: str, inside: Element) -> Element:
    return h("details", h("summary", title), inside, cls="section")


def _without_links(elements: list[Element | None]) -> list[Element]:
    """Removes links, which lead nowhere in a file."""
    return [_without_link(each) for each in elements if each is not None]


def _without_link(element: Element) -> Element:
    if isinstance(element, str):
        return element
    tag, attributes, *children = element
    kept = {name: value for name, value in attributes.items() if name != "href"}
    return ["span" if tag == "a" else tag, kept, *map(_without_link, children)]


def _component_scripts() -> Iterator[str]:
    """Yields each component's scripts in a block of their own, with the calls that render its data."""
    for places, name, files in (
        (("answer", "behind"), "renderElements", RENDERER_SCRIPTS),
        (("timeline",), "renderTimeline", TIMELINE_SCRIPTS),
    ):
        calls = "\n".join(
            f"{name}({{ parentElement: document.getElementById('{place}'), data: saved.{place} }});" for place in places
        )
        yield f"{{\n{read_files(*files).replace('export default ', '')}\n{calls}\n}}\n"


def _variables() -> str:
    """Returns the theme as the variables that Streamlit sets: light, and dark where the reader's system is."""
    theme = tomllib.loads(_THEME.read_text(encoding="utf-8"))["theme"]
    fonts = "--st-font: ui-sans-serif, system-ui, sans-serif; --st-code-font: ui-monospace, monospace;"
    light, dark = (_css_variables(theme[name]) for name in ("light", "dark"))
    return f":root {{ {fonts} {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def _css_variables(theme: dict[str, Any]) -> str:
    return " ".join(f"--st-{re.sub('(?=[A-Z])', '-', name).lower()}: {value};" for name, value in theme.items())


_MARKDOWN_CHARACTERS = re.compile(r"([\\`*_\[\]<>|~#])")


def markdown(view: SagaView, address: str) -> str:
    """Returns the headline, evidence and actions as Markdown; `address` is the page's link. Times are UTC.

    Received text is escaped.
    """
    return "\n".join([*_answer(view), *_verdict(view.saga.verdict), *_ledger(view), "", address]).strip()


def _answer(view: SagaView) -> Iterable[str]:
    saga, style = view.saga, view.attention or view.status
    yield f"**{_text(view.name)} {_text(view.id)}: {style.label.lower()}**"
    yield f"> {_text(line(saga.headline, 800))}"
    yield ""
    if saga.customer_line:
        yield f"For the customer: {_text(line(saga.customer_line, 600))}"
    if saga.since:
        yield f"Without progress since {_moment(saga.since)}."
    if view.amount_at_risk:
        yield f"Amount at risk: {_text(', '.join(view.amount_at_risk))}."


def _verdict(verdict: schemas.Verdict | None) -> Iterable[str]:
    if verdict and verdict.evidence:
        yield "\nEvidence:"
        yield from (f"- {_moment(fact.at)} {_text(line(fact.text, 400))}" for fact in verdict.evidence)
    if verdict and verdict.actions:
        yield "\nRecommended action:"
        yield from (f"{number}. {_text(line(action, 600))}" for number, action in enumerate(verdict.actions, start=1))


def _ledger(view: SagaView) -> Iterable[str]:
    if view.ledger:
        yield "\nCommitted steps:"
    for entry in view.ledger:
        style = ledger_style(entry, view.saga.status)
        moved = _text(amount(entry.amount, entry.currency))
        yield f"- {_text(ledger_label(entry))}: {style.label.lower()} {moved}".rstrip()
    if (left_out := len(view.saga.ledger) - len(view.ledger)) > 0:
        yield f"- and {left_out:,} more"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _text(text: str) -> str:
    return _MARKDOWN_CHARACTERS.sub(r"\\\1", text)
