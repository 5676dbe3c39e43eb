"""Random types of sagas: their steps, how they are run, and how their services report.

A shape says what exists, never what happens: `world.py` plays a saga of it, `telemetry.py` reports what was played.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

Style = Literal["orchestrated", "choreography", "two_phase"]
PlanSource = Literal["declared", "learned", "none"]
Views = Literal["both", "caller", "executor"]
AmountsOn = Literal["saga", "steps", "none"]

NAMES = (
    "fraud.check",
    "wallet.debit",
    "stock.reserve",
    "ledger.record",
    "shipping.book",
    "points.add",
    "mail.send",
    "tax.file",
)
"""Names of steps; the service is the first half."""

COMPENSATIONS = {
    "wallet.debit": "wallet.refund",
    "stock.reserve": "stock.release",
    "ledger.record": "ledger.reverse",
    "shipping.book": "shipping.cancel",
    "points.add": "points.remove",
}
DEFAULT_ALLOWED_SECONDS = 30.0
LEARNED_ALLOWED_SECONDS = 10.0
"""What finished sagas allow here, since none of their steps takes more than a third of it."""

LONGEST_LEARNED_SECONDS = 3.2


@dataclass(frozen=True)
class Step:
    """One step of a shape; a loop is several with one name and different keys."""

    name: str
    compensation: str = ""
    after: tuple[int, ...] = ()
    """Places of the steps that it waits for."""
    key: str = ""
    is_optional: bool = False
    is_pivot: bool = False
    amount: str = ""
    attempt_timeout: float | None = None
    plan_timeout: float | None = None
    max_attempts: int = 1
    waits: float = 0.0
    """Seconds of an intended wait that it announces, for what follows it."""

    @property
    def service(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Shape:
    """A type of saga."""

    name: str
    style: Style
    steps: tuple[Step, ...]
    plan: PlanSource
    views: Views
    amounts_on: AmountsOn
    has_keys: bool
    """Whether attempts carry idempotency keys, which their executors honour."""
    announces_retries: bool
    announces_max_attempts: bool
    plain: frozenset[str] = frozenset()
    """Services with plain OpenTelemetry: no start records, no heartbeats."""

    @property
    def services(self) -> list[str]:
        found = {step.service for step in self.steps}
        return sorted(found | ({"boss"} if self.style != "choreography" else set()))

    def allowed(self, step: Step | None) -> float:
        """Seconds that the transition to a step may take, by the order of precedence of the contract."""
        if step is not None and step.plan_timeout and self.plan == "declared":
            return step.plan_timeout
        return LEARNED_ALLOWED_SECONDS if self.plan == "learned" else DEFAULT_ALLOWED_SECONDS

    def allowed_for_attempt(self, step: Step, *, is_compensation: bool = False) -> float:
        """Seconds that an attempt may take."""
        if is_compensation:
            return DEFAULT_ALLOWED_SECONDS  # too few finished sagas ran it
        return step.attempt_timeout or self.allowed(step)


def shape(chance: Random, number: int, plan_source: PlanSource | None = None) -> Shape:
    """A random shape; its name is ``number``'s, so that what is learned of it is learned of no other."""
    style: Style = chance.choices(("orchestrated", "choreography", "two_phase"), (70, 18, 12))[0]
    plan: PlanSource = chance.choices(("declared", "learned", "none"), (60, 22, 18))[0]
    plan = plan_source or plan
    if style == "two_phase":
        style, plan = ("orchestrated", plan) if plan_source else (style, "declared")
    if style == "choreography" and plan == "declared":
        plan = "learned"
    views: Views = (
        chance.choices(("both", "caller", "executor"), (70, 15, 15))[0] if style == "orchestrated" else "both"
    )
    amounts_on: AmountsOn = chance.choice(("saga", "steps", "none"))
    steps = _steps(chance, style, plan, amounts_on)
    services = sorted({step.service for step in steps} | {"boss"})
    kind = chance.random()
    plain = frozenset[str]()
    if kind < 0.15:
        plain = frozenset(services)
    elif kind < 0.3:
        plain = frozenset(chance.sample(services, chance.randint(1, max(1, len(services) // 2))))
    return Shape(
        name=f"payment{number}",
        style=style,
        steps=steps,
        plan=plan,
        views=views,
        amounts_on=amounts_on,
        has_keys=chance.random() < 0.5,
        announces_retries=chance.random() < 0.6,
        announces_max_attempts=chance.random() < 0.6,
        plain=plain,
    )


def _steps(chance: Random, style: Style, plan: PlanSource, amounts_on: AmountsOn) -> tuple[Step, ...]:
    names = list(NAMES[: chance.randint(2, 8)] if chance.random() < 0.5 else chance.sample(NAMES, chance.randint(2, 8)))
    if style == "two_phase":
        names = names[: chance.randint(2, 4)]
        return tuple(Step(name, amount="20.00" if amounts_on == "steps" else "") for name in names)
    steps = [_step(chance, name, plan, amounts_on) for name in names]
    steps = _in_order(chance, steps) if style == "orchestrated" else _in_a_row(steps)
    if style == "orchestrated" and chance.random() < 0.15:
        steps = _with_loop(chance, steps)
    if chance.random() < 0.2:
        place = chance.randrange(len(steps))
        steps[place] = replace(steps[place], is_pivot=True)
    return tuple(steps)


def _step(chance: Random, name: str, plan: PlanSource, amounts_on: AmountsOn) -> Step:
    compensation = COMPENSATIONS.get(name, "")
    may_be_long = plan != "learned"
    return Step(
        name,
        compensation,
        is_optional=plan == "declared" and chance.random() < 0.08,
        amount=f"{chance.randint(1, 90)}.00" if amounts_on == "steps" and compensation else "",
        attempt_timeout=chance.choice((5.0, 15.0, 60.0)) if may_be_long and chance.random() < 0.25 else None,
        plan_timeout=chance.choice((5.0, 20.0, 90.0)) if may_be_long and chance.random() < 0.2 else None,
        max_attempts=chance.choice((1, 2, 3, 5)),
        waits=chance.choice((60.0, 300.0)) if may_be_long and chance.random() < 0.04 else 0.0,
    )


def _in_a_row(steps: list[Step]) -> list[Step]:
    return [replace(step, after=(place - 1,) if place else ()) for place, step in enumerate(steps)]


def _in_order(chance: Random, steps: list[Step]) -> list[Step]:
    """One after the other, or with branches that run in parallel and join."""
    if len(steps) < 4 or chance.random() < 0.65:
        return _in_a_row(steps)
    first, width = chance.randrange(0, 2), chance.randint(2, 3)
    branches = list(range(first, min(first + width, len(steps) - 1)))
    join = branches[-1] + 1
    ordered = _in_a_row(steps)
    for place in branches:
        ordered[place] = replace(ordered[place], after=(first - 1,) if first else (), waits=0.0)
    ordered[join] = replace(ordered[join], after=tuple(branches))
    return ordered


def _with_loop(chance: Random, steps: list[Step]) -> list[Step]:
    """One step of a row repeated for two or three items, each with its own key."""
    if any(len(step.after) > 1 for step in steps) or any(
        steps[place].after == steps[place - 1].after for place in range(1, len(steps))
    ):
        return steps
    place, items = chance.randrange(len(steps)), chance.randint(2, 3)
    looped = [
        replace(steps[place], key=f"item-{number}", is_optional=False, waits=0.0) for number in range(1, items + 1)
    ]
    return _in_a_row([*steps[:place], *looped, *steps[place + 1 :]])
