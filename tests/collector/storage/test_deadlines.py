"""Reading ends when its time is over, and the database goes on as if nothing had been."""

import threading
import time
from collections.abc import Iterator

import pytest

from sagascope_collector.errors import ReadTooLong
from sagascope_collector.storage import database, within

FOR_EVER = "SELECT count(*) FROM range(1_000_000) AS a, range(1_000_000) AS b WHERE a.range * b.range = 7"
QUICK_QUERY = "SELECT 1"
IN_TIME = 30.0


@pytest.fixture
def opened() -> Iterator[database.Database]:
    made = database.Database(":memory:")
    yield made
    made.close()


def ask(opened: database.Database, statement: str) -> None:
    with opened._at_work({}) as cursor:
        cursor.execute(statement).fetchall()


def test_a_read_without_end_is_interrupted_and_the_next_is_answered(opened: database.Database) -> None:
    begun = time.monotonic()
    with pytest.raises(ReadTooLong), within(0.1):
        ask(opened, FOR_EVER)
    assert time.monotonic() - begun < IN_TIME
    ask(opened, QUICK_QUERY)


def test_a_read_after_the_deadline_is_not_started(opened: database.Database) -> None:
    with within(0.0), pytest.raises(ReadTooLong):
        ask(opened, QUICK_QUERY)


def test_of_two_deadlines_the_earlier_counts(opened: database.Database) -> None:
    with within(0.0), within(100.0), pytest.raises(ReadTooLong):
        ask(opened, QUICK_QUERY)


def test_only_reads_past_their_deadline_are_interrupted(opened: database.Database) -> None:
    ended, refused = threading.Event(), list[bool]()

    def slow() -> None:
        with within(IN_TIME):
            ask(opened, "SELECT count(*) FROM range(300_000_000)")
        ended.set()

    def hasty() -> None:
        try:
            with within(0.05):
                ask(opened, FOR_EVER)
        except ReadTooLong:
            refused.append(True)

    threads = [threading.Thread(target=each) for each in (slow, hasty, hasty)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ended.is_set()
    assert refused == [True, True]
