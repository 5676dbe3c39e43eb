"""Diagnosis of attributes that have values which no service means."""

from dataclasses import replace
from typing import Any

import pytest

from sagascope import semconv
from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.analysis.failures import GRPC_STATUS, HTTP_STATUS
from sagascope_collector.records import Value
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

STORY = """
boss-1   0..     root plan="debit/refund, record"
wallet-1 1..2    run  debit amount="50.00 EUR"
boss-1   3..4    call record error="Refused: no" as=call
ledger-1 3.1..4  span record under=call
boss-1   3.1..4  span publish under=call kind=producer as=sent
boss-1   9       log  "the message expired" in=sent event=sagascope.waiting
boss-1   0..60   beats every=5
"""

KEYS = sorted(
    {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str) and "." in value}
    | {*HTTP_STATUS, *GRPC_STATUS}
)

MAX_CHARACTERS = 2_000


@pytest.mark.parametrize(
    "value",
    [None, "", True, -1, 2**63 - 1, 1e308, float("nan"), b"\xff", [], ["a", 1, None], {"a": {"b": [1]}}, "x\x1b\n{}"],
    ids=repr,
)
def test_no_value_of_an_attribute_prevents_a_diagnosis(value: Value) -> None:
    for key in KEYS:
        _diagnosed(key, value)


def test_a_long_value_fills_no_sentence() -> None:
    texts = _diagnosed(semconv.WAIT_FOR, 5_000 * "x", STORY.split("boss-1   3..4")[0])
    assert "waiting for xxx" in texts[0]
    assert max(map(len, texts)) < MAX_CHARACTERS


def _diagnosed(key: str, value: Value, story: str = STORY) -> list[str]:
    """The texts about the story in which each record has this attribute."""
    known = seen(emit(story, {"id": "8492", "name": "payment"}))

    def with_value(record: Any) -> Any:
        return replace(record, attributes={**record.attributes, key: value})

    spans, logs = (tuple(map(with_value, records)) for records in (known.spans, known.logs))
    facts = replace(known, spans=spans, logs=logs).facts("8492")
    now = STARTED + 60 * SECOND
    found = [diagnose(saga, facts.instances, Context(now)) for saga in rebuild(facts, now)]
    assert found
    return [text for each in found for text in (each.headline, *(each.verdict.actions if each.verdict else ()))]
