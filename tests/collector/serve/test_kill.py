"""SIGKILL at any instant, under load: nothing acknowledged is missing, nothing sent twice is stored twice."""

from pathlib import Path

import pytest

from support.kills import kill_repeatedly

pytestmark = pytest.mark.slow

ROUNDS = 8


def test_nothing_acknowledged_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    outcome = kill_repeatedly(tmp_path, ROUNDS)
    assert len(outcome.acknowledged) > ROUNDS * 200
    assert len(outcome.stored) == len(set(outcome.stored)) == outcome.counted
    assert not outcome.acknowledged - set(outcome.stored)
