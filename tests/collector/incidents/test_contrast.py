"""What sets sagas that stand still apart: said when there is enough to say it by, and not otherwise."""

from random import Random

import pytest

from sagascope_collector.incidents import Contrast, Trait, Traits, contrasts, traits
from sagascope_collector.records import Mark, Process, Resource, Span

BAD = Trait("wallet", "", "service.version", "2.1")
GOOD = BAD._replace(value="2.0")
HOST = Trait("wallet", "", "host.name", "w-7")
TENANT = Trait("", "", "saga.key.tenant", "acme")


def saga(*found: Trait) -> Traits:
    return Traits(frozenset({("", ""), ("wallet", ""), *(each.place for each in found)}), frozenset(found))


def sagas(*counted: tuple[int, tuple[Trait, ...]]) -> list[Traits]:
    return [saga(*found) for count, found in counted for _ in range(count)]


def test_a_version_that_only_the_stuck_have_is_said_with_its_counts() -> None:
    (found,) = contrasts(sagas((30, (BAD,))), sagas((3, (BAD,)), (97, (GOOD,))))
    assert (found.trait, found.stuck, found.stuck_of, found.finished, found.finished_of) == (BAD, 30, 30, 3, 100)
    assert found.lift == pytest.approx(33.3, abs=0.1)


def test_what_none_that_finished_has_has_no_lift() -> None:
    (found,) = contrasts(sagas((30, (BAD,))), sagas((100, (GOOD,))))
    assert found.lift is None


def test_what_the_same_sagas_have_is_said_together_the_version_first() -> None:
    (found,) = contrasts(sagas((20, (HOST, BAD))), sagas((100, (GOOD,))))
    assert (found.trait, found.also) == (BAD, (HOST,))


@pytest.mark.parametrize(
    ("stuck", "finished"),
    [
        (sagas((4, (BAD,))), sagas((200, (GOOD,)))),
        (sagas((100, (BAD,))), sagas((19, (GOOD,)))),
        (sagas((4, (BAD,)), (96, (GOOD,))), sagas((200, (GOOD,)))),
        (sagas((100, (BAD,))), sagas((70, (BAD,)), (30, (GOOD,)))),
        (sagas((5, (BAD,))), sagas((8, (BAD,)), (12, (GOOD,)))),
        ([], []),
    ],
    ids=["few stuck", "few finished", "few of the stuck have it", "little lift", "by chance", "nobody"],
)
def test_where_too_little_is_known_nothing_is_said(stuck: list[Traits], finished: list[Traits]) -> None:
    assert contrasts(stuck, finished) == ()


def test_a_step_that_the_stuck_never_reached_says_nothing() -> None:
    later = Trait("shipping", "", "service.version", "1.0")
    assert contrasts(sagas((50, ())), sagas((100, (later,)))) == ()


def test_a_step_that_those_that_finished_never_took_says_nothing() -> None:
    undo = Trait("refunds", "", "service.version", "1.0")
    assert contrasts(sagas((50, (undo,))), sagas((100, ()))) == ()


def test_what_differs_from_saga_to_saga_says_nothing() -> None:
    def numbered(count: int) -> list[Traits]:
        return [saga(TENANT._replace(value=f"t-{number % 60}")) for number in range(count)]

    assert contrasts(numbered(60), numbered(200)) == ()


def test_of_a_thousand_properties_that_mean_nothing_none_is_said() -> None:
    chance = Random(7)
    spurious = sum(bool(contrasts(_at_random(chance, 60), _at_random(chance, 120))) for _ in range(10))
    assert spurious == 0


def _at_random(chance: Random, count: int) -> list[Traits]:
    keys = [Trait("", "", f"key-{number}", "") for number in range(100)]
    return [saga(*(key._replace(value=str(chance.randrange(10))) for key in keys)) for _ in range(count)]


def test_symptoms_numbers_and_identities_are_no_traits() -> None:
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
    found = traits([span])
    assert found.found == {
        BAD,
        TENANT,
        Trait("", "", "saga.currency", "EUR"),
        Trait("", "wallet.debit", "queue", "fast"),
        Trait("", "wallet.debit", "gift", "true"),
    }
    assert found.places == {("", ""), ("wallet", ""), ("", "wallet.debit")}


def test_a_contrast_of_a_hundred_percent_against_half_is_twice_as_frequent() -> None:
    (found,) = contrasts(sagas((40, (BAD,))), sagas((100, (BAD,)), (100, (GOOD,))))
    assert isinstance(found, Contrast)
    assert found.lift == 2.0
