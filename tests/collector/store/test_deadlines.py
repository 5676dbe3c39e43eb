"""Reading ends when its time is over, and the database goes on as if nothing had been."""

import threading
import time
from collections.abc import Iterator

import pytest

from sagascope_collector.errors import ReadTooLong
from sagascope_collector.store import database, watchdog
from sagascope_collector.store.sql import Query

FOR_EVER = "SELECT count(*) FROM range(1_000_000) AS a, range(1_000_000) AS b WHERE a.range * b.range = 7"
IN_TIME = 30.0


@pytest.fixture
def opened() -> Iterator[database.Database]:
    made = database.Database(":memory:")
    yield made
    made.close()


def ask(opened: database.Database, statement: str) -> None:
    with opened._at_work({}) as cursor:
        cursor.execute(statement).fetchall()


def test_what_takes_for_ever_is_interrupted_and_the_next_is_answered(opened: database.Database) -> None:
    begun = time.monotonic()
    with pytest.raises(ReadTooLong), watchdog.within(0.1):
        ask(opened, FOR_EVER)
    assert time.monotonic() - begun < IN_TIME
    ask(opened, Query.SELECT_TABLES.text)


def test_what_comes_after_the_end_is_not_begun(opened: database.Database) -> None:
    with watchdog.within(0.0), pytest.raises(ReadTooLong):
        ask(opened, Query.SELECT_TABLES.text)


def test_of_two_ends_the_earlier_counts(opened: database.Database) -> None:
    with watchdog.within(0.0), watchdog.within(100.0), pytest.raises(ReadTooLong):
        ask(opened, Query.SELECT_TABLES.text)


def test_only_those_are_interrupted_whose_time_is_over(opened: database.Database) -> None:
    ended, refused = threading.Event(), list[bool]()

    def patient() -> None:
        with watchdog.within(IN_TIME):
            ask(opened, "SELECT count(*) FROM range(300_000_000)")
        ended.set()

    def hasty() -> None:
        try:
            with watchdog.within(0.05):
                ask(opened, FOR_EVER)
        except ReadTooLong:
            refused.append(True)

    threads = [threading.Thread(target=each) for each in (patient, hasty, hasty)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ended.is_set()
    assert refused == [True, True]
