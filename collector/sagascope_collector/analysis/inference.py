"""The type of a saga whose name was not received: inferred from its steps and services, by finished sagas."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sagascope_collector.analysis.experience import Experience
from sagascope_collector.analysis.model import Step


class Inference(NamedTuple):
    """What finished sagas of one environment tell of a saga without a name."""

    name: str | None = None
    """The only type that has all of its steps, in the same services."""
    longest_pause: float | None = None
    """Seconds: without such a type, the longest time without progress in any that may be meant."""


def infer(environment: str, steps: Sequence[Step], experience: Mapping[tuple[str, str], Experience]) -> Inference:
    """Infer the type of a saga with these steps; nothing is inferred where none was tried, or nothing is learned."""
    tried = [step for step in steps if step.attempts]
    known = {name: each for (place, name), each in experience.items() if place == environment and each.services}
    if not tried or not known:
        return Inference()
    candidates = sorted(name for name, each in known.items() if all(_has(each, step) for step in tried))
    if len(candidates) == 1:
        return Inference(name=candidates[0])
    return Inference(longest_pause=max(known[name].longest_pause for name in candidates or known))


def _has(experience: Experience, step: Step) -> bool:
    services = experience.services.get(step.name)
    return services is not None and (step.service is None or not services or step.service in services)
