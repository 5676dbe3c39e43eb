"""Remembers what was taken out of one record, and says so in it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.scrubbing.texts import Scrubbed

MOST: Final = 50
"""Places that are told of one record; beyond it their number."""


class Findings:
    """What rules took out of a record, and where."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._places: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def note(self, rules: Iterable[str], place: str) -> None:
        """Rules that took something out at a place; none: nothing was."""
        for rule in sorted(rules):
            self.counts[rule] += 1
            self._places[f"{rule}: {place}"] = None

    def told(self, scrubbed: Scrubbed, place: str) -> str:
        """Note what was done to a text; the text."""
        text, rules = scrubbed
        self.note(rules, place)
        return text

    def take(self, inner: "Findings", place: str) -> None:
        """Note what was found in something that stands at this place."""
        self.counts += inner.counts
        for each in inner.places():
            rule, _, below = each.partition(": ")
            self._places[f"{rule}: {place}.{below}"] = None

    def places(self) -> list[str]:
        """What was taken out where."""
        return list(self._places)

    def mark(self, attributes: Any) -> None:
        """Add to a record's attributes what was taken out; a mark that it has stays."""
        places = self.places()
        said = places[:MOST] + ([f"and {len(places) - MOST} more"] if len(places) > MOST else [])
        mark = next((each for each in attributes if each.key == semconv.SCRUBBED), None) or attributes.add(
            key=semconv.SCRUBBED
        )
        for each in said:
            mark.value.array_value.values.add(string_value=each)
