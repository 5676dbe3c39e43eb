"""One saga as Markdown, to be pasted into a chat or an issue."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from sagascope_dashboard.viewmodels.saga import Saga

_MEANT = re.compile(r"([\\`*_\[\]<>|~#])")


def markdown(shown: Saga, address: str) -> str:
    """The answer, its proof and what to do; `address` is the page's link. Times are UTC.

    What was received is escaped: it is text there as it is here.
    """
    return "\n".join([*_answer(shown), *_verdict(shown), *_ledger(shown), "", address]).strip()


def _answer(shown: Saga) -> Iterable[str]:
    sign = shown.attention or shown.status
    yield f"**{_text(shown.name)} {_text(shown.id)}: {sign.word.lower()}**"
    yield f"> {_text(shown.headline)}"
    yield ""
    if shown.customer_line:
        yield f"For the customer: {_text(shown.customer_line)}"
    if shown.since:
        yield f"Without progress since {_moment(shown.since)}."
    if shown.amount_at_risk:
        yield f"Amount at risk: {_text(', '.join(shown.amount_at_risk))}."


def _verdict(shown: Saga) -> Iterable[str]:
    if shown.verdict is None:
        return
    if shown.verdict.evidence:
        yield "\nWhat is known:"
        yield from (f"- {_moment(proof.at)} {_text(proof.text)}" for proof in shown.verdict.evidence)
    if shown.verdict.actions:
        yield "\nWhat to do:"
        yield from (f"{number}. {_text(action)}" for number, action in enumerate(shown.verdict.actions, start=1))


def _ledger(shown: Saga) -> Iterable[str]:
    if shown.ledger:
        yield "\nWhat is committed:"
    for entry in shown.ledger:
        yield f"- {_text(entry.step)}: {entry.sign.word.lower()} {_text(entry.amount)}".rstrip()


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _text(text: str) -> str:
    return _MEANT.sub(r"\\\1", text)
