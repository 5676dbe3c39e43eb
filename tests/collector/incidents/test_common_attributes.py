"""What affected sagas have in common: reported where the samples suffice, and not otherwise."""

from random import Random

import pytest

from sagascope_collector.incidents import (
    CommonAttribute,
    SagaAttribute,
    SagaAttributes,
    common_attributes,
    saga_attributes,
)
from sagascope_collector.records import Mark, Process, Resource, Span

BAD = SagaAttribute("wallet", "", "service.version", "2.1")
GOOD = BAD._replace(value="2.0")
HOST = SagaAttribute("wallet", "", "host.name", "w-7")
TENANT = SagaAttribute("", "", "saga.key.tenant", "acme")


def saga(*found: SagaAttribute) -> SagaAttributes:
    return SagaAttributes(frozenset({("", ""), ("wallet", ""), *(each.origin for each in found)}), frozenset(found))


def sagas(*counted: tuple[int, tuple[SagaAttribute, ...]]) -> list[SagaAttributes]:
    return [saga(*found) for count, found in counted for _ in range(count)]


def test_a_version_that_only_affected_sagas_have_is_reported_with_its_counts() -> None:
    (found,) = common_attributes(sagas((30, (BAD,))), sagas((3, (BAD,)), (97, (GOOD,))))
    assert (found.attribute, found.affected, found.affected_of, found.completed, found.completed_of) == (
        BAD,
        30,
        30,
        3,
        100,
    )
    assert found.lift == pytest.approx(33.3, abs=0.1)


def test_what_no_completed_saga_has_has_no_lift() -> None:
    (found,) = common_attributes(sagas((30, (BAD,))), sagas((100, (GOOD,))))
    assert found.lift is None


def test_what_the_same_sagas_have_is_reported_together_the_version_first() -> None:
    (found,) = common_attributes(sagas((20, (HOST, BAD))), sagas((100, (GOOD,))))
    assert (found.attribute, found.also) == (BAD, (HOST,))


@pytest.mark.parametrize(
    ("affected", "completed"),
    [
        (sagas((4, (BAD,))), sagas((200, (GOOD,)))),
        (sagas((100, (BAD,))), sagas((19, (GOOD,)))),
        (sagas((4, (BAD,)), (96, (GOOD,))), sagas((200, (GOOD,)))),
        (sagas((100, (BAD,))), sagas((70, (BAD,)), (30, (GOOD,)))),
        (sagas((5, (BAD,))), sagas((8, (BAD,)), (12, (GOOD,)))),
        ([], []),
    ],
    ids=["few affected", "few completed", "few of the affected have it", "little lift", "by chance", "none"],
)
def test_where_too_little_is_known_nothing_is_reported(
    affected: list[SagaAttributes], completed: list[SagaAttributes]
) -> None:
    assert common_attributes(affected, completed) == ()


def test_a_step_that_no_affected_saga_reached_is_not_compared() -> None:
    later = SagaAttribute("shipping", "", "service.version", "1.0")
    assert common_attributes(sagas((50, ())), sagas((100, (later,)))) == ()


def test_a_step_that_no_completed_saga_has_is_not_compared() -> None:
    refund = SagaAttribute("refunds", "", "service.version", "1.0")
    assert common_attributes(sagas((50, (refund,))), sagas((100, ()))) == ()


def test_what_differs_from_saga_to_saga_is_not_reported() -> None:
    def numbered(count: int) -> list[SagaAttributes]:
        return [saga(TENANT._replace(value=f"t-{number % 60}")) for number in range(count)]

    assert common_attributes(numbered(60), numbered(200)) == ()


def test_of_a_thousand_random_attributes_none_is_reported() -> None:
    chance = Random(7)
    spurious = sum(bool(common_attributes(_at_random(chance, 60), _at_random(chance, 120))) for _ in range(10))
    assert spurious == 0


def _at_random(chance: Random, count: int) -> list[SagaAttributes]:
    keys = [SagaAttribute("", "", f"key-{number}", "") for number in range(100)]
    return [saga(*(key._replace(value=str(chance.randrange(10))) for key in keys)) for _ in range(count)]


def test_symptoms_numbers_and_identities_are_not_compared() -> None:
    said = {
        "error.type": "Timeout",
        "http.response.status_code": 503,
        "saga.id": "8492",
        "saga.step.attempt": 3,
        "saga.key.tenant": "acme",
        "saga.currency": "EUR",
        "queue": "fast",
        "score": 0.25,
        "gift": True,
        "long": "x" * 201,
    }
    process = Process("", "wallet", "2.1", "w", "w-1")
    resource = Resource({"service.version": "2.1", "process.pid": 77, "telemetry.sdk.name": "opentelemetry"})
    mark = Mark("8492", "payment", step="wallet.debit")
    span = Span("a" * 32, "b" * 16, "", "x", "internal", 1, 2, "unset", "", mark, process, said, resource=resource)
    found = saga_attributes([span])
    assert found.attributes == {
        BAD,
        TENANT,
        SagaAttribute("", "", "saga.currency", "EUR"),
        SagaAttribute("", "wallet.debit", "queue", "fast"),
        SagaAttribute("", "wallet.debit", "gift", "true"),
    }
    assert found.origins == {("", ""), ("wallet", ""), ("", "wallet.debit")}


def test_all_against_half_is_twice_as_frequent() -> None:
    (found,) = common_attributes(sagas((40, (BAD,))), sagas((100, (BAD,)), (100, (GOOD,))))
    assert isinstance(found, CommonAttribute)
    assert found.lift == 2.0
