"""Sessions with the catalog of a lake, and the lock of commits."""

import os
import signal

import psycopg
import pytest

from sagascope_collector.lake import Lake
from support.lake import LakePlace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lake")]


def of(place: LakePlace) -> Lake:
    return Lake(place.server.dsn(place.database), place.data)


def test_a_session_gives_up_only_after_the_limit_of_its_statements(lake: LakePlace) -> None:
    with of(lake).session(statement_seconds=3_600) as session:
        ((limit,),) = session.execute("SHOW statement_timeout").fetchall()
        assert limit == "1h"
        assert session.answer_seconds > 3_600
    session = of(lake).session(statement_seconds=1)
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute("SELECT pg_sleep(60)")
    pid = session.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(psycopg.OperationalError, match="no answer came within 6 s"):
            session.execute("SELECT 1")
    finally:
        os.kill(pid, signal.SIGCONT)
