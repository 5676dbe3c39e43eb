"""Of which sagas of a flood something is learned."""

import pytest

from sagascope_collector.projection.examples import EACH, KINDS, RARELY, Examples
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import SagaRow


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def examples(clock: list[float]) -> Examples:
    return Examples(lambda: clock[0])


def row(id_: str, *, name: str = "payment", steps: tuple[str, ...] = ("wallet.debit",)) -> SagaRow:
    return SagaRow(SagaKey("", name, id_, ""), "completed", None, None, None, steps, (), 1, 2, 2, None, {}, "{}")


def test_a_few_of_each_kind_are_chosen(examples: Examples) -> None:
    flood = [row(f"{number}") for number in range(9)]
    assert examples.among([*flood, row("a", name="refund"), row("b", steps=())]) == {
        *(SagaId("", f"{number}") for number in range(EACH)),
        SagaId("", "a"),
        SagaId("", "b"),
    }


def test_a_kind_has_examples_once_in_a_while(examples: Examples, clock: list[float]) -> None:
    assert examples.among([row("1")])
    assert examples.among([row("2"), row("3", name="refund")]) == {SagaId("", "3")}
    clock[0] += RARELY
    assert examples.among([row("4")]) == {SagaId("", "4")}


def test_kinds_that_had_to_wait_come_next(examples: Examples) -> None:
    rows = [row(f"{number}", name=f"type-{number}") for number in range(2 * KINDS)]
    first, second = examples.among(rows), examples.among(rows)
    assert len(first) == len(second) == KINDS
    assert not first & second
