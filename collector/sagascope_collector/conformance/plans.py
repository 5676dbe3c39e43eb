"""The plan on the root span."""

from collections.abc import Iterator

from sagascope import semconv
from sagascope_collector.conformance.heard import Heard, HeardSpan
from sagascope_collector.conformance.report import Finding
from sagascope_collector.conformance.rule import Rule

SECTION = "Plan"

BESIDE = (semconv.PLAN_COMPENSATIONS, semconv.PLAN_TIMEOUTS, semconv.PLAN_AFTER, semconv.PLAN_OPTIONAL)
"""Lists that are as long as the plan."""


def _planned(heard: Heard) -> Iterator[HeardSpan]:
    return (each for each in heard.spans if any(key in each.attributes for key in (semconv.PLAN, *BESIDE)))


def _lengths(heard: Heard) -> Iterator[Finding]:
    for span in _planned(heard):
        steps = span.attributes.get(semconv.PLAN)
        length = len(steps) if isinstance(steps, list) else 0
        lists = ((key, span.attributes[key]) for key in BESIDE if key in span.attributes)
        wrong = [key for key, value in lists if not isinstance(value, list) or len(value) != length]
        yield Finding(span.where, f"not as long as the plan of {length}: {', '.join(wrong)}" if wrong else "")


def _place(heard: Heard) -> Iterator[Finding]:
    for span in _planned(heard):
        role = span.attributes.get(semconv.SAGA_ROLE)
        yield Finding(span.where, "" if role == semconv.ROLE_SAGA else f"its saga.role is {role!r}")


def _names(heard: Heard) -> Iterator[Finding]:
    for span in _planned(heard):
        steps = span.attributes.get(semconv.PLAN)
        known = [each for each in steps if isinstance(each, str)] if isinstance(steps, list) else []
        twice = sorted({each for each in known if known.count(each) > 1})
        strange = sorted(_awaited(span) - set(known))
        said = [f"{each} is there twice" for each in twice] + [f"{each} is waited for" for each in strange]
        yield Finding(span.where, "; ".join(said))


def _awaited(span: HeardSpan) -> set[str]:
    after = span.attributes.get(semconv.PLAN_AFTER)
    texts = [each for each in after if isinstance(each, str)] if isinstance(after, list) else []
    return {name.strip() for text in texts for name in text.split(",") if name.strip()}


RULES = (
    Rule(
        SECTION,
        "plan.lengths",
        "The lists beside saga.plan are as long as it.",
        'Write one value for each step: "" where there is no compensation, 0.0 where there is no timeout.',
        _lengths,
    ),
    Rule(
        SECTION,
        "plan.place",
        "The plan stands on the root span: saga.role = saga.",
        "Move the plan to the root span, and give that saga.role = saga.",
        _place,
    ),
    Rule(
        SECTION,
        "plan.names",
        "Each step is named once in the plan, and saga.plan.after names steps of it.",
        "Name each step once; what happens several times has saga.step.key.",
        _names,
    ),
)
