"""Histories of sagas for tests of retention and downsampling: equal ids in several environments, names and runs."""

import random
from dataclasses import replace
from typing import NamedTuple

from sagascope_collector.otlp import decode
from sagascope_collector.records import Facts, SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, traces

from .conftest import Request, append, payload

DAY = 86_400
DAYS = 10
NOW = NOON + DAYS * DAY * SECOND

ENVIRONMENTS, NAMES, RUNS = ("", "staging", "prod"), ("payment", "refund"), ("", "r1", "r2")

IN_NO_SAGA = f"{999_999:032x}"
"""The trace id of a span in no saga, on the first day."""


Received = tuple[Request, int]


class Drawn(NamedTuple):
    """One saga that was drawn."""

    row: SagaRow
    linked: tuple[SagaKey, ...]
    """Sagas that a span of it links to."""


def id_of(key: SagaKey) -> SagaId:
    return SagaId(key.environment, key.id)


def fill(storage: Storage, seed: int = 1, sagas: int = 60) -> dict[SagaKey, Drawn]:
    """Ten days of sagas with few different ids; some are open, some need attention, some have records for days."""
    chance, drawn, requests = random.Random(seed), dict[SagaKey, Drawn](), list[Received]()
    append(storage, traces(span(999_999, trace=999_999, start=NOON, end=NOON + 1)), received=NOON)
    for number in range(1, sagas + 1):
        key = SagaKey(
            chance.choice(ENVIRONMENTS),
            chance.choice(NAMES),
            f"s{chance.randrange(1 + sagas // 3)}",
            chance.choice(RUNS),
        )
        if key in drawn:
            continue
        start = NOON + number * DAYS * DAY * SECOND // sagas
        last = start + chance.choice((0, 0, 0, 2 * DAY)) * SECOND
        others = [each for each in drawn if each.environment == key.environment]
        linked = tuple(chance.sample(others, 1)) if others and chance.random() < 0.3 else ()
        for part, at in enumerate(sorted({start, last})):
            requests += _requests(key, 10 * number + part, at, linked if not part else ())
        if chance.random() < 0.2:
            _append(storage, requests)
            requests = []
        drawn[key] = Drawn(_row(key, start, last, chance), linked)
    _append(storage, requests)
    summarise(storage, drawn)
    return drawn


def summarise(storage: Storage, drawn: dict[SagaKey, Drawn]) -> None:
    """Puts the summaries of all."""
    ids = list(dict.fromkeys(map(id_of, drawn)))
    storage.changes.claim(10_000)
    storage.sagas.put(ids, [each.row for each in drawn.values()])


def _requests(key: SagaKey, number: int, at: int, linked: tuple[SagaKey, ...]) -> list[Received]:
    said = of_saga(key.id, key.name) | ({"saga.run.id": key.run} if key.run else {})
    of = resource("ledger", **({"deployment_environment_name": key.environment} if key.environment else {}))
    links = [(9, number, of_saga(each.id, each.name)) for each in linked]
    return [
        (
            traces(span(number, trace=number, start=at, end=at + SECOND, attributes=said, links=links), of=of),
            at + SECOND,
        ),
        (logs(log(f"of {number}", at=at, attributes=said), of=of), at + SECOND),
    ]


def _append(storage: Storage, requests: list[Received]) -> None:
    decoded = decode([payload(each, received) for each, received in requests])
    storage.records.append(decoded.batch)


def _row(key: SagaKey, start: int, last: int, chance: random.Random) -> SagaRow:
    is_ended, status = chance.random() < 0.9, chance.choice(("completed", "completed", "failed"))
    attention = ("applied_twice" if chance.random() < 0.1 else None) if is_ended else "hung"
    ended = last if is_ended else None
    status = status if is_ended else "running"
    return SagaRow(key, status, attention, None, None, (), (), start, last, ended, None, {"order": f"o-{key.id}"}, "{}")


def goes(drawn: dict[SagaKey, Drawn], before: int) -> set[SagaId]:
    """The ids of which every saga ended, needs no attention, and has no record since then."""
    kept = {id_of(key) for key, each in drawn.items() if not is_over(each.row, before)}
    return {id_of(key) for key in drawn} - kept


def is_over(row: SagaRow, before: int) -> bool:
    return row.ended_at is not None and row.attention is None and row.updated_at < before


def listed(storage: Storage) -> set[SagaKey]:
    """Everything that is listed."""
    return {each.key for each in storage.listing.page(SagaFilters(), limit=10_000).rows}


def facts_of(storage: Storage, drawn: dict[SagaKey, Drawn]) -> dict[SagaId, Facts]:
    """What is kept of them, in one order."""
    return {
        id_: replace(
            each,
            spans=tuple(sorted(each.spans, key=lambda span: (span.span_id, str(span.mark)))),
            logs=tuple(sorted(each.logs, key=lambda log: str(log.body))),
        )
        for id_, each in storage.lookup.facts(list(dict.fromkeys(map(id_of, drawn)))).items()
    }
