"""What a saga has done and undone in this process; it decides between completed, compensated and failed."""

from collections.abc import Iterable

from sagascope._plan import Plan


class Progress:
    """Committed steps in order, and those of them that were undone."""

    __slots__ = ("_committed", "_last_was_undo")

    def __init__(self) -> None:
        self._committed: dict[tuple[str, str], bool] = {}
        self._last_was_undo = False

    def commit(self, step: str, key: str) -> None:
        """A step ended well."""
        self._committed.pop((step, key), None)
        self._committed[step, key] = True
        self._last_was_undo = False

    def undo(self, step: str | None, key: str) -> None:
        """A compensation ended well; with no key of its own it undoes the step whatever its key."""
        self._last_was_undo = True
        for committed in self._committed:
            if committed[0] == step and key in ("", committed[1]):
                self._committed[committed] = False

    def latest_committed(self, candidates: Iterable[str]) -> str | None:
        """The one of these steps that was committed last and is not undone."""
        wanted = set(candidates)
        in_force = [step for (step, _), holds in self._committed.items() if holds and step in wanted]
        return in_force[-1] if in_force else None

    def is_undone(self, plan: Plan | None, *, at_the_end: bool) -> bool:
        """True when something was undone, and nothing that has a compensation is in force.

        With `at_the_end`, nothing may have been done after the last undo either: a saga that went on was not given up.
        """
        undone = [holds for holds in self._committed.values() if not holds]
        if not undone or (at_the_end and not self._last_was_undo):
            return False
        in_force = [step for (step, _), holds in self._committed.items() if holds]
        planned = [plan.step(step) for step in in_force] if plan is not None else []
        return not any(step is not None and step.compensation for step in planned)
