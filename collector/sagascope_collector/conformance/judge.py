"""All points together."""

from sagascope import semconv
from sagascope_collector.conformance import identity, inflight, liveness, marks, plans, proof, values
from sagascope_collector.conformance.heard import Heard
from sagascope_collector.conformance.report import Report, Verdict

RULES = (*identity.RULES, *values.RULES, *plans.RULES, *marks.RULES, *inflight.RULES, *liveness.RULES)
"""Every point, in the order in which they are told."""


def judge(heard: Heard) -> Report:
    """Judge everything that came.

    An emitter that sent nothing of any saga is not conformant: there was nothing to judge.
    """
    points = [rule.judge(heard) for rule in RULES]
    sagas = {str(each.attributes[semconv.SAGA_ID]) for each in heard.marked}
    level = proof.level(heard)
    return Report(
        conformant=bool(sagas) and not any(each.verdict is Verdict.FAILED for each in points),
        level=level,
        spans=len(heard.spans),
        logs=len(heard.logs),
        sagas=len(sagas),
        points=points,
        claims=proof.claims(heard, level),
    )
