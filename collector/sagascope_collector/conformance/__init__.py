"""Checks any emitter's telemetry against the contract in `docs/semconv.md`."""

from sagascope_collector.conformance.capture import Capture, CapturedLog, CapturedSpan, Origin
from sagascope_collector.conformance.evaluation import evaluate
from sagascope_collector.conformance.report import CheckResult, Gap, Level, Report, ServiceGaps, SupportedCode, Verdict

__all__ = [
    "Capture",
    "CapturedLog",
    "CapturedSpan",
    "CheckResult",
    "Gap",
    "Level",
    "Origin",
    "Report",
    "ServiceGaps",
    "SupportedCode",
    "Verdict",
    "evaluate",
]
