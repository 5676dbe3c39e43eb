"""SIGKILL at any instant, under load: nothing acknowledged is missing, nothing sent twice is stored twice."""

from pathlib import Path

from support.siege import besiege

ROUNDS = 5


def test_nothing_acknowledged_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    after = besiege(tmp_path, ROUNDS)
    assert len(after.acknowledged) > ROUNDS * 200
    assert len(after.stored) == len(set(after.stored)) == after.counted
    assert not after.acknowledged - set(after.stored)
