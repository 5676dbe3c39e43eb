"""A list that stays as it is while a person reads it: what is new waits until it is asked for. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sagascope_dashboard.format import plural
from sagascope_dashboard.viewmodels.incidents import Row
from sagascope_dashboard.viewmodels.triage import Case, Triage

Item = TypeVar("Item", Row, Case)


@dataclass(frozen=True, slots=True)
class Steady:
    """What is drawn, and what waits."""

    shown: Triage
    drawn: tuple[str, ...]
    """Keys of what is drawn, in order: `before` of the next reading."""
    news: str
    """What waits, in words; empty: nothing does."""


def steady(now: Triage, before: Sequence[str] = ()) -> Steady:
    """Draw what was drawn before in its order, as it is now. Where nothing was drawn, all is."""
    keys = (*(row.key for row in now.incidents), *(case.key for case in now.cases))
    kept = [key for key in before if key in set(keys)]
    if not kept:
        return Steady(now, keys, "")
    places = {key: place for place, key in enumerate(kept)}
    shown = replace(now, incidents=_in_place(now.incidents, places), cases=_in_place(now.cases, places))
    new = sum(row.count for row in now.incidents if row.key not in places)
    new += sum(case.key not in places for case in now.cases)
    return Steady(shown, tuple(kept), _news(new))


def _in_place(items: Iterable[Item], places: dict[str, int]) -> tuple[Item, ...]:
    return tuple(sorted((each for each in items if each.key in places), key=lambda each: places[each.key]))


def _news(number: int) -> str:
    return f"{plural(number, 'more transaction')} {'needs' if number == 1 else 'need'} attention" if number else ""
