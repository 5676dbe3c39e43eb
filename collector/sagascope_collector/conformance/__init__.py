"""Judges any emitter's telemetry against the names in `docs/semconv.md`, point by point. Pure, but for `ear`."""

from sagascope_collector.conformance.heard import Heard, HeardLog, HeardSpan, Origin
from sagascope_collector.conformance.judge import judge
from sagascope_collector.conformance.report import Claim, Level, Point, Report, Verdict

__all__ = [
    "Claim",
    "Heard",
    "HeardLog",
    "HeardSpan",
    "Level",
    "Origin",
    "Point",
    "Report",
    "Verdict",
    "judge",
]
