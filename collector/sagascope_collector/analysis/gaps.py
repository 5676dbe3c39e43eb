"""Whether telemetry of a saga may be missing: then the absence of a record proves nothing."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sagascope_collector.analysis import course
from sagascope_collector.analysis.model import Plan, Step
from sagascope_collector.analysis.outcome import Frame
from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.analysis.tracing import orphans
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.analysis.watch import UNDER_WAY
from sagascope_collector.records import Heartbeat, Instance, Span

SAMPLED: Final = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:(?!0*(?:[;,]|$))")
"""A trace state that says that only a share of the traces was kept."""

SILENT_INTERVALS: Final = 1
"""Announced intervals after which a process that has not reported may have done what it could not report."""


def may_lack_telemetry(
    spans: Sequence[Span],
    frame: Frame,
    steps: Sequence[Step],
    gone: Collection[str],
    instances: Mapping[ProcessKey, Instance],
    now: int,
    plan: Plan,
) -> bool:
    """Whether what would tell of a step that started may not have come.

    It can only be excluded where the process of the root calls for the steps itself, so that it tells of each, and
    sends heartbeats, which say what it could not send; while the saga is open, it must still report. Nothing may be
    known to be missing: a span above another, what the process could not send, what sampling left out, a step for which
    one that was seen should have waited.
    """
    if not frame.roots:
        return True
    driver = process_key(frame.roots[0].process)
    callers = {process_key(each.views[0].process) for step in steps for each in step.attempts if each.views}
    instance = instances.get(driver)
    beat = instance.heartbeat if instance is not None else None
    if callers != {driver} or instance is None or beat is None or beat.dropped > 0:
        return True
    if frame.closing is None and not _reports(instance, beat, now):
        return True
    if any(span.trace_state and SAMPLED.search(span.trace_state) for span in spans):
        return True
    if any(span.span_id in gone and process_key(span.process) == driver for span in spans):
        return True
    return bool(orphans(spans)) or bool(course.passed_over(plan, steps))


def _reports(instance: Instance, beat: Heartbeat, now: int) -> bool:
    """Whether a process runs and its next heartbeat is not overdue.

    What it called for right before it shut down, it may not have reported.
    """
    promised = round((SILENT_INTERVALS * beat.interval + UNDER_WAY) * SECOND)
    return not beat.final and max(instance.last_seen, beat.at) + promised >= now
