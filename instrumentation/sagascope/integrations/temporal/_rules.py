"""Which activity undoes which step: said at the activity, by a rule, by its name, or in the saga's plan."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from sagascope._guard import Guard
from sagascope._plan import Plan, Step
from sagascope._saga import declared

Rule = Mapping[str, str] | Callable[[str], str | None]
"""The step that an activity of this name undoes; none, or None: it undoes nothing."""

PREFIXES = ("undo_", "compensate_", "Undo", "Compensate")
"""An activity called so, and then like another, undoes that one."""

F = TypeVar("F", bound=Callable[..., object])

_ASKING = Guard("asking a rule which step an activity undoes")
_UNDOES = "__sagascope_undoes__"
_DEFINITION = "__temporal_activity_definition"
_said: dict[str, str] = {}


def compensates(step: str) -> Callable[[F], F]:
    """Say of an activity that it undoes another: ``@compensates("charge")`` above or below ``@activity.defn``.

    Where workflows and activities run in different processes, both have to import the activity, or the plan says it.

    Args:
        step: The name of the activity that is undone.
    """

    def said(function: F) -> F:
        setattr(function, _UNDOES, step)
        _said[getattr(function, "__name__", "")] = step
        return function

    return said


class Rules:
    """Answers which step an activity undoes."""

    def __init__(self, rule: Rule | None = None) -> None:
        self._rule = rule

    def learn(self, activities: Iterable[object]) -> None:
        """Take in what is said at these activities, under the names that Temporal knows them by."""
        for each in activities:
            step, definition = getattr(each, _UNDOES, None), getattr(each, _DEFINITION, None)
            if step and getattr(definition, "name", None):
                _said[definition.name] = step  # type: ignore[union-attr]

    def undone_by(self, workflow: str, activity: str, function: object = None) -> str:
        """The step that an activity of a workflow undoes; ``""``: it is no compensation.

        What is said at the activity comes first, then the rule, then the plan, then its name.
        """
        said: str | None = getattr(function, _UNDOES, None) or _said.get(activity)
        if not said and self._rule is not None:
            with _ASKING:
                rule = self._rule
                said = rule(activity) if callable(rule) else rule.get(activity)
        return said or _planned(workflow, activity) or _named(activity)

    def plan_of(self, workflow: str) -> Plan | None:
        """The plan that was declared for workflows of this type."""
        return declared(workflow)

    def whole_plan(self, workflow: str, undone: Mapping[str, str]) -> Plan:
        """The plan, and beside it what is known to undo a step; `undone` is that of compensations that ran."""
        plan = declared(workflow)
        known = {step.name: step for step in plan.steps} if plan is not None else {}
        pairs = {**_pairs(self._rule), **{step: name for name, step in _said.items()}, **undone}
        return Plan(
            [*known.values(), *(Step(step, compensation=by) for step, by in pairs.items() if step not in known)]
        )


def _pairs(rule: Rule | None) -> dict[str, str]:
    return {step: name for name, step in rule.items()} if isinstance(rule, Mapping) else {}


def _planned(workflow: str, activity: str) -> str:
    plan = declared(workflow)
    return next(iter(plan.undone_by(activity)), "") if plan is not None else ""


def _named(activity: str) -> str:
    return next((activity.removeprefix(each) for each in PREFIXES if activity.startswith(each)), "")
