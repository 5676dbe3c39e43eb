"""Checks any emitter's telemetry against the contract in `docs/semconv.md`."""

from sagascope_collector.conformance.capture import (
    Capture as Capture,
    CapturedLog as CapturedLog,
    CapturedSpan as CapturedSpan,
    Origin as Origin,
)
from sagascope_collector.conformance.evaluation import evaluate as evaluate
from sagascope_collector.conformance.report import (
    CheckResult as CheckResult,
    Gap as Gap,
    Level as Level,
    Report as Report,
    ServiceGaps as ServiceGaps,
    SupportedCode as SupportedCode,
    Verdict as Verdict,
)
