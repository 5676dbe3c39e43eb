"""The steps that a saga is to take: as its root declares them."""

from collections.abc import Iterable
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.analysis import rings, values
from sagascope_collector.analysis.model import Plan, PlannedStep
from sagascope_collector.records import Attributes, Span

NO_PLAN = Plan("none")
"""Nothing is known: then no absence is claimed."""


def declared(spans: Iterable[Span]) -> Plan:
    """The plan on the first of these spans that carries one."""
    for span in spans:
        if semconv.PLAN in span.attributes:
            plan = _known(span.attributes)
            if plan.steps:
                return plan
    return NO_PLAN


NAMES: Final = (
    semconv.PLAN,
    semconv.PLAN_COMPENSATIONS,
    semconv.PLAN_TIMEOUTS,
    semconv.PLAN_AFTER,
    semconv.PLAN_OPTIONAL,
)

REMEMBERED: Final = 256
"""Plans that are read once: the sagas of one type declare the same."""

_plans: Final[dict[str, Plan]] = {}


def _known(attributes: Attributes) -> Plan:
    said = repr([attributes.get(name) for name in NAMES])
    plan = _plans.get(said)
    if plan is None:
        plan = _read(attributes)
        if len(_plans) >= REMEMBERED:
            _plans.clear()
        _plans[said] = plan
    return plan


def _read(attributes: Attributes) -> Plan:
    """A plan from the attributes of a root; lists of another length than the plan's are read as far as they go."""
    names = values.texts(attributes.get(semconv.PLAN)) or ()
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        first.setdefault(name, place)
    compensations = _List(attributes.get(semconv.PLAN_COMPENSATIONS))
    timeouts = _List(attributes.get(semconv.PLAN_TIMEOUTS))
    after = _List(attributes.get(semconv.PLAN_AFTER))
    optional = _List(attributes.get(semconv.PLAN_OPTIONAL))
    steps = tuple(
        PlannedStep(
            name=name,
            compensation=values.text(compensations.at(place)),
            timeout=values.seconds(timeouts.at(place)),
            optional=optional.at(place) is True,
            after=_after(after.at(place)),
        )
        for name, place in first.items()
        if name
    )
    return Plan("declared", rings.broken(steps), undo_known=compensations.given)


def _after(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, str):
        return None
    return tuple(name for each in value.split(",") if (name := each.strip()))


class _List:
    """A list attribute, or an empty one where it is absent."""

    def __init__(self, value: Any) -> None:
        self.given = isinstance(value, list | tuple)
        self._items = value if isinstance(value, list | tuple) else ()

    def at(self, place: int) -> Any:
        return self._items[place] if place < len(self._items) else None
