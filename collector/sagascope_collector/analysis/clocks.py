"""Clock offsets and clock skew between the processes of a saga.

A span below another cannot start before it, and the answer to a call cannot come after the call's end. So each call
bounds the difference between the executor's clock and the caller's. If clocks contradict each other, the clock of the
process below is moved by the smallest amount, or to the middle of the possible range. The calls of one saga, and of
finished sagas, also bound the skew of pairs of processes that never called each other. The time of receipt shows
whether a clock is ahead of the collector's, because nothing is sent before it happens.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.analysis.spans import ProcessKey, SpanTree, process_key
from sagascope_collector.records import Log, Span

MAX_UNCORRECTED_SKEW_NS = 2_000_000
"""Nanoseconds by which clocks may disagree without correction."""


AGREEMENT_TOLERANCE_NS = 500_000_000
"""Nanoseconds by which correct clocks may differ, at the accuracy of traces."""


MAX_HANDOFF_WAIT_NS = 30_000_000_000
"""Nanoseconds that asynchronous work may have waited before it started."""


Pair = tuple[ProcessKey, ProcessKey]
"""(caller, executor)."""


class Edge(NamedTuple):
    """A span and its parent in another process."""

    parent: Span
    child: Span


@dataclass(slots=True)
class _Bounds:
    """The minimum and maximum correction of one process's clock, relative to another's; None: no bound."""

    minimum: int | None
    maximum: int | None = None

    def offset(self, other: int) -> int:
        """The correction of this clock, if the other's is known: none if that is possible, else the other's."""
        for possible in (0, other):
            if self._allows(possible - other):
                return possible
        if self.minimum is None or self.maximum is None or self.maximum < self.minimum:
            return other + (self.maximum or 0 if self.minimum is None else self.minimum)
        return other + (self.minimum + self.maximum) // 2

    def _allows(self, correction: int) -> bool:
        if self.minimum is not None and self.minimum > correction + MAX_UNCORRECTED_SKEW_NS:
            return False
        return self.maximum is None or self.maximum >= correction - MAX_UNCORRECTED_SKEW_NS

    def reversed(self) -> "_Bounds":
        """The bounds of the other process's clock, relative to this one's."""
        return _Bounds(None if self.maximum is None else -self.maximum, None if self.minimum is None else -self.minimum)


def edges(spans: Sequence[Span], tree: SpanTree) -> list[Edge]:
    """Returns every span with a parent in another process. Indistinguishable processes count as one."""
    found = []
    for span in spans:
        parent = tree.parent(span)
        if parent is None or parent.process is span.process:
            continue
        if parent.process.identity != span.process.identity or parent.process.service != span.process.service:
            found.append(Edge(parent, span))
    return found


def offsets(found: Sequence[Edge], root: ProcessKey | None) -> dict[ProcessKey, int]:
    """Returns nanoseconds to add to the clock of each process, so that all agree; 0 is left out.

    The clock that most others agree with is the reference; in a tie the root span's clock, else the latest span's.
    """
    if not any(_contradicts(parent, child) for parent, child in found):
        return {}
    bounds: dict[Pair, _Bounds] = {}
    for parent, child in found:
        _narrow(bounds, parent, child)
    reference = root or _latest_process(found)
    corrections = _propagated(bounds, reference)
    agreed = _process_with_most_agreement(corrections, reference)
    corrections = _propagated(bounds, agreed) if corrections[agreed] else corrections
    return {process: offset for process, offset in corrections.items() if offset}


def _latest_process(found: Sequence[Edge]) -> ProcessKey:
    span = max((span for edge in found for span in edge), key=lambda span: (max(span.start, span.end), span.span_id))
    return process_key(span.process)


def _process_with_most_agreement(corrections: Mapping[ProcessKey, int], reference: ProcessKey) -> ProcessKey:
    """The process whose clock most processes agree with; in a tie, the reference."""

    def agreeing(process: ProcessKey) -> tuple[int, bool]:
        near = sum(abs(offset - corrections[process]) <= AGREEMENT_TOLERANCE_NS for offset in corrections.values())
        return near, process == reference

    return max(sorted(corrections), key=agreeing)


def _contradicts(parent: Span, child: Span) -> bool:
    if child.start + MAX_UNCORRECTED_SKEW_NS < parent.start:
        return True
    return child.end - MAX_UNCORRECTED_SKEW_NS > parent.end > 0 and is_answered_call(parent, child)


def _narrow(bounds: dict[Pair, _Bounds], parent: Span, child: Span) -> None:
    pair = (process_key(parent.process), process_key(child.process))
    minimum = parent.start - child.start
    known = bounds.get(pair)
    if known is None:
        known = bounds[pair] = _Bounds(minimum)
    known.minimum = minimum if known.minimum is None else max(known.minimum, minimum)
    if is_answered_call(parent, child):
        maximum = parent.end - child.end
        known.maximum = maximum if known.maximum is None else min(known.maximum, maximum)


def is_answered_call(parent: Span, child: Span) -> bool:
    """Whether the parent waited for the child and received its answer, so that it ended after the child."""
    if parent.status == "error" or not (child.end and parent.end):
        return False
    return (parent.kind == "client" and child.kind == "server") or _is_ahead(parent, child)


def _is_ahead(caller: Span, executor: Span) -> bool:
    """Whether the executor's clock must be ahead.

    Otherwise it started an attempt long after its caller had the result.
    """
    one, other = caller.mark, executor.mark
    return (
        one.role == other.role == semconv.ROLE_STEP
        and (one.step, one.key, one.attempt) == (other.step, other.key, other.attempt)
        and caller.kind != "producer"
        and executor.kind != "consumer"
        and executor.end - executor.start <= caller.end - caller.start
        and executor.start - caller.end > MAX_HANDOFF_WAIT_NS
    )


def _propagated(bounds: Mapping[Pair, _Bounds], reference: ProcessKey) -> dict[ProcessKey, int]:
    """Propagates corrections outward from the reference. A process on two paths keeps the first correction, by name."""
    # sorted by name, so that the order of arrival changes no correction
    steps: dict[ProcessKey, dict[ProcessKey, _Bounds]] = {}
    for (parent, child), each in sorted(bounds.items(), key=lambda item: item[0]):
        steps.setdefault(parent, {}).setdefault(child, each)
        steps.setdefault(child, {}).setdefault(parent, each.reversed())
    corrections: dict[ProcessKey, int] = {}
    for start in [reference, *sorted(steps)]:
        if start not in corrections:
            _propagate_from(start, steps, corrections)
    return corrections


def _propagate_from(
    start: ProcessKey, steps: Mapping[ProcessKey, Mapping[ProcessKey, _Bounds]], corrections: dict[ProcessKey, int]
) -> None:
    corrections[start] = 0
    waiting = [start]
    for process in waiting:
        for neighbour, bounds in steps.get(process, {}).items():
            if neighbour not in corrections:
                corrections[neighbour] = bounds.offset(corrections[process])
                waiting.append(neighbour)


UNKNOWN_SKEW_NS: Final = 500_000_000
"""Nanoseconds between times of two processes above which their order is known, if nothing bounds their skew."""

UNBOUNDED_NS: Final = 1 << 62
"""Nanoseconds of skew that stand for no bound: the order is unknown."""

MAX_DRIFT_RATIO: Final = 100e-6
"""Maximum drift between two clocks, as a share of the elapsed time: twice the drift of quartz."""

MAX_PROCESSES: Final = 32
"""Maximum number of processes compared with each other, in cubic time; with more, no skew is known."""

MAX_PAIRS: Final = 32
"""Maximum number of process pairs from one finished saga; a saga type keeps the latest ten times as many."""


class Bound(NamedTuple):
    """Minimum and maximum nanoseconds to add to the executor's clock so that it agrees with the caller's."""

    minimum: int
    maximum: int
    at: int
    """The time of the call that gave the bound."""

    def aged(self, now: int) -> "Bound":
        """Returns the bound widened by the possible drift until another time."""
        drift = round(abs(now - self.at) * MAX_DRIFT_RATIO)
        return Bound(self.minimum - drift, self.maximum + drift, now)

    def narrowed(self, other: "Bound") -> "Bound":
        """Returns the intersection of two bounds, as of the later.

        The later alone if they contradict (a clock was set).
        """
        early, late = sorted((self, other), key=lambda each: (each.at, each.minimum, each.maximum))
        aged = early.aged(late.at)
        both = Bound(max(aged.minimum, late.minimum), min(aged.maximum, late.maximum), late.at)
        return both if both.minimum <= both.maximum else late


def skew_bounds(edges: Iterable[Edge]) -> dict[Pair, Bound]:
    """Returns the skew bounds from the answered calls of one saga, for each pair of distinguishable processes."""
    found: dict[Pair, Bound] = {}
    for parent, child in edges:
        if not (parent.process.identity and child.process.identity and is_answered_call(parent, child)):
            continue
        pair = process_key(parent.process), process_key(child.process)
        bound = Bound(parent.start - child.start, parent.end - child.end, parent.end)
        if bound.minimum <= bound.maximum:
            known = found.get(pair)
            found[pair] = bound if known is None else known.narrowed(bound)
    return found


def merged_bounds(several: Iterable[Mapping[Pair, Bound]]) -> dict[Pair, Bound]:
    """Returns the combined bounds of several sagas, for the pairs seen last."""
    found: dict[Pair, Bound] = {}
    for each in several:
        for pair, bound in each.items():
            known = found.get(pair)
            found[pair] = bound if known is None else known.narrowed(bound)
    latest = sorted(found.items(), key=lambda item: (-item[1].at, item[0]))[: 10 * MAX_PAIRS]
    return dict(latest)


class Skew:
    """The uncertainty of the order of events in different processes of one saga."""

    def __init__(
        self,
        spans: Iterable[Span],
        edges: Sequence[Edge],
        offsets: Mapping[ProcessKey, int],
        learned: Mapping[Pair, Bound],
    ) -> None:
        self._edges, self._offsets, self._learned = edges, offsets, learned
        self._processes, self._now = set[ProcessKey](), 0
        if learned:
            for span in spans:
                self._processes.add(process_key(span.process))
                self._now = max(self._now, span.end or span.start)
        self._max_behind: dict[Pair, int] | None = None

    def uncertainty_ns(self, later: ProcessKey, earlier: ProcessKey, *, is_proof: bool = False) -> int:
        """Returns the nanoseconds after an event of one process from which another process's event is certainly later.

        Both times are on the saga's clock, with their processes' offsets added. A loose bound is limited to
        `UNKNOWN_SKEW_NS` above the known minimum, unless clocks of the saga are known to be wrong by more, or
        ``is_proof``: only calls bound the skew then.
        """
        if later == earlier:
            return 0
        if self._max_behind is None:
            self._max_behind = self._over_all_paths()
        maximum = self._max_behind.get((later, earlier))
        applied = self._offsets.get(later, 0) - self._offsets.get(earlier, 0)
        if is_proof or any(abs(offset) > UNKNOWN_SKEW_NS for offset in self._offsets.values()):
            return UNBOUNDED_NS if maximum is None else max(maximum + applied, 0)
        minimum = self._max_behind.get((earlier, later))
        likely = UNKNOWN_SKEW_NS if minimum is None else max(applied - minimum, 0) + UNKNOWN_SKEW_NS
        return likely if maximum is None else min(max(maximum + applied, 0), likely)

    def _over_all_paths(self) -> dict[Pair, int]:
        """The maximum by which the second clock of each pair can be behind the first, over all paths."""
        max_behind = self._over_calls()
        processes = sorted({process for pair in max_behind for process in pair})
        if len(processes) > MAX_PROCESSES:
            return {}
        for between in processes:  # Floyd-Warshall: the shortest path between two clocks is their tightest bound
            for one in processes:
                first = max_behind.get((one, between))
                if first is None:
                    continue
                for other in processes:
                    second = max_behind.get((between, other))
                    if second is not None and first + second < max_behind.get((one, other), first + second + 1):
                        max_behind[one, other] = first + second
        contradicts = any(max_behind.get((each, each), 0) < 0 for each in processes)
        return {} if contradicts else max_behind

    def _over_calls(self) -> dict[Pair, int]:
        max_behind: dict[Pair, int] = {}

        def narrow(one: ProcessKey, other: ProcessKey, nanoseconds: int) -> None:
            max_behind[one, other] = min(max_behind.get((one, other), nanoseconds), nanoseconds)

        for parent, child in self._edges:
            caller, executor = process_key(parent.process), process_key(child.process)
            if not (parent.process.identity and child.process.identity):
                continue
            narrow(executor, caller, child.start - parent.start)
            if is_answered_call(parent, child):
                narrow(caller, executor, parent.end - child.end)
        for (caller, executor), bound in self._learned.items():
            if caller in self._processes or executor in self._processes:
                aged = bound.aged(self._now)
                narrow(caller, executor, aged.maximum)
                narrow(executor, caller, -aged.minimum)
        return max_behind


ARRIVAL_TOLERANCE_NS = 1_000_000_000
"""Nanoseconds by which a clock may differ from the collector's without correction."""

PROMPT_NS: Final = 5_000_000_000
"""Nanoseconds in which a record is received at the usual settings of an OpenTelemetry SDK."""


def max_leads(spans: Iterable[Span], logs: Iterable[Log]) -> dict[ProcessKey, int]:
    """Returns the maximum nanoseconds by which a record is dated after its receipt, by process; mostly negative."""
    found: dict[ProcessKey, int] = {}
    for span in spans:
        _add_lead(found, span, span.end or span.start)
    for log in logs:
        _add_lead(found, log, log.observed_at or log.at)
    return found


def _add_lead(found: dict[ProcessKey, int], record: Span | Log, at: int) -> None:
    if record.received_at:
        key, early = process_key(record.process), at - record.received_at
        found[key] = max(found.get(key, early), early)


def offsets_by_receipt(
    agreed: Mapping[ProcessKey, int],
    edges: Sequence[Edge],
    leads: Mapping[ProcessKey, int],
    lags: Mapping[ProcessKey, int],
    root: ProcessKey | None,
) -> tuple[Mapping[ProcessKey, int], int]:
    """Returns the offsets by which clocks agree with each other and with the collector's, and the delay.

    The delay is the lag that all processes have in common: their telemetry is received late, whatever their clocks.
    The clock of a process that lags by more is behind by the difference, unless a call contradicts that. No record is
    received before it happened: the clock of a process that sent such a record is ahead, and is set back.

    Args:
        agreed: The offsets by which clocks agree with each other, according to `edges`.
        edges: The calls between the processes.
        leads: See `max_leads`.
        lags: The lags of processes that report regularly, see `records.Instance`.
        root: The process of the root span, if it was received.
    """
    known, delay = _known_offsets(leads, lags)
    if any(_contradicts_call(edge, known) for edge in edges):
        known = {}
    linked = {process_key(span.process) for edge in edges for span in edge}
    shift = _shift(agreed, linked, leads, known, root)
    offsets = {process: agreed.get(process, 0) + shift for process in linked}
    for process, offset in known.items():
        if abs(offsets.get(process, 0) - offset) > ARRIVAL_TOLERANCE_NS:
            offsets[process] = offset
    for process, at in leads.items():
        if at + offsets.get(process, 0) > ARRIVAL_TOLERANCE_NS:
            offsets[process] = _beyond_tolerance(-at)
    return {process: offset for process, offset in offsets.items() if offset}, delay


def _known_offsets(
    leads: Mapping[ProcessKey, int], lags: Mapping[ProcessKey, int]
) -> tuple[Mapping[ProcessKey, int], int]:
    """The offsets of the processes whose clocks are known, and the delay.

    The clock of a process without heartbeats is right if a record of it was received about when it is dated.
    """
    prompt = {process: 0 for process, at in leads.items() if -PROMPT_NS <= at <= ARRIVAL_TOLERANCE_NS}
    delay = max(_beyond_tolerance(min(lags.get(process, -at) for process, at in leads.items())), 0) if lags else 0
    return prompt | {process: _beyond_tolerance(lag - delay) for process, lag in lags.items()}, delay


def _beyond_tolerance(offset: int) -> int:
    return offset if abs(offset) > ARRIVAL_TOLERANCE_NS else 0


def _shift(
    agreed: Mapping[ProcessKey, int],
    linked: Collection[ProcessKey],
    leads: Mapping[ProcessKey, int],
    known: Mapping[ProcessKey, int],
    root: ProcessKey | None,
) -> int:
    """Nanoseconds to add to all clocks that agree with each other, so that they agree with the collector's, too."""
    reference = root if root in known else next((each for each in sorted(linked) if each in known), None)
    if reference is not None:
        return known[reference] - agreed.get(reference, 0)
    if root is None or root not in leads:
        return 0
    return -max(_beyond_tolerance(leads[root] + agreed.get(root, 0)), 0)


def _contradicts_call(edge: Edge, known: Mapping[ProcessKey, int]) -> bool:
    """Whether a call started or ended before its caller's, with these offsets."""
    parent, child = edge
    caller, executor = process_key(parent.process), process_key(child.process)
    if caller not in known or executor not in known:
        return False
    ahead = known[executor] - known[caller]
    if child.start + ahead < parent.start - ARRIVAL_TOLERANCE_NS:
        return True
    return is_answered_call(parent, child) and child.end + ahead > parent.end + ARRIVAL_TOLERANCE_NS
