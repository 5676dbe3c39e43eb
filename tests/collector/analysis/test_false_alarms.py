"""No false alarm in a day of healthy sagas, diagnosed with the real rules."""

from support.alarms import alarms
from support.healthy import World

SAGAS = 5_000
"""`make bench ARGS=false-alarms` tries a million."""


def test_of_thousands_of_healthy_sagas_on_a_usual_day_none_needs_anybody() -> None:
    found = alarms(World(8492, SAGAS))
    assert found.diagnosed >= SAGAS
    assert dict(found.flagged) == {}
    assert found.notices == 0
