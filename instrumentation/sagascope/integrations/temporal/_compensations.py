"""Which activity compensates which step: declared at the activity, by a rule, in the saga's plan, or by its name."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from sagascope import semconv
from sagascope._errors import Guard
from sagascope._plan import Plan, Step
from sagascope._saga import declared_plan

CompensationRule = Mapping[str, str] | Callable[[str], str | None]
"""Maps the name of an activity to the step that it compensates; a missing name or None means no step."""

F = TypeVar("F", bound=Callable[..., object])

_APPLYING_RULE = Guard("asking a rule which step an activity compensates")
_COMPENSATES = "__sagascope_compensates__"
_DEFINITION = "__temporal_activity_definition"
_declared: dict[str, str] = {}
"""The compensated step by the name of the activity, as `compensates` declares it."""


def compensates(step: str) -> Callable[[F], F]:
    """Declares that an activity compensates another: ``@compensates("charge")`` above or below ``@activity.defn``.

    Where workflows and activities run in different processes, both must import the activity, or the plan must name it.

    Args:
        step: The name of the activity that is compensated.
    """

    def declare(function: F) -> F:
        setattr(function, _COMPENSATES, step)
        _declared[getattr(function, "__name__", "")] = step
        return function

    return declare


class CompensationRules:
    """Determines which step an activity compensates."""

    def __init__(self, rule: CompensationRule | None = None) -> None:
        self._rule = rule

    def register(self, activities: Iterable[object]) -> None:
        """Registers what these activities declare, under the names by which Temporal knows them."""
        for each in activities:
            step, definition = getattr(each, _COMPENSATES, None), getattr(each, _DEFINITION, None)
            if step and getattr(definition, "name", None):
                _declared[definition.name] = step  # type: ignore[union-attr]

    def compensated_step(self, workflow: str, activity: str, function: object = None) -> str:
        """Returns the step that an activity of a workflow compensates; ``""`` if it is not a compensation.

        A declaration at the activity comes first, then the rule, then the plan, then the activity's name.
        """
        step: str | None = getattr(function, _COMPENSATES, None) or _declared.get(activity)
        if not step and self._rule is not None:
            with _APPLYING_RULE:
                rule = self._rule
                step = rule(activity) if callable(rule) else rule.get(activity)
        return step or _planned(workflow, activity) or semconv.compensated_by_name(activity, (), has_failed=False)

    def full_plan(self, workflow: str, compensated: Mapping[str, str]) -> Plan:
        """Returns the declared plan with all other known compensations.

        Args:
            workflow: The workflow's type.
            compensated: The compensations that ran, by the step that they compensated.
        """
        plan = declared_plan(workflow)
        planned = {step.name: step for step in plan.steps} if plan is not None else {}
        rule = {step: name for name, step in self._rule.items()} if isinstance(self._rule, Mapping) else {}
        known = {**rule, **{step: name for name, step in _declared.items()}, **compensated}
        added = [Step(step, compensation=name) for step, name in known.items() if step not in planned]
        return Plan([*planned.values(), *added])


def _planned(workflow: str, activity: str) -> str:
    plan = declared_plan(workflow)
    return next(iter(plan.steps_compensated_by(activity)), "") if plan is not None else ""
