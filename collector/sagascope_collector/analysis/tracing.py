"""Anomalies of the telemetry itself: clocks that contradict each other, spans that never came."""

from collections.abc import Iterable, Iterator

from sagascope import semconv
from sagascope_collector.analysis.chronicle import Chronicle
from sagascope_collector.analysis.clocks import Edge, is_answered_call
from sagascope_collector.analysis.model import Anomaly
from sagascope_collector.analysis.timestamps import MARGIN_NS
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.analysis.words import dated, who
from sagascope_collector.records import Span

TOLERANCE = SECOND
"""What clocks may contradict each other by, unsaid; nanoseconds."""

SHOWN = 5
"""Missing parents that are named."""


def clock_skew(saga: Chronicle) -> Iterator[Anomaly]:
    """A span that began before the one above it, or after its end; one anomaly for each pair of processes."""
    yield from _impossible(saga)
    worst: dict[tuple[str, str], tuple[int, Edge]] = {}
    for edge in saga.edges:
        if edge.parent.start <= edge.child.start and edge.child.end <= edge.parent.end:
            continue
        by = _contradiction(edge)
        pair = (who(edge.parent.process), who(edge.child.process))
        if by > TOLERANCE and by > worst.get(pair, (0, edge))[0]:
            worst[pair] = (by, edge)
    for (above, below), (by, edge) in sorted(worst.items(), key=lambda item: item[0]):
        began = edge.child.start < edge.parent.start
        relation = "started before" if began else "started after the end of" if _is_after(edge) else "ended after"
        text = f"{edge.child.name} in {below} {relation} {edge.parent.name} above it in {above}, by {by / SECOND:.1f} s"
        yield Anomaly("clock_skew", f"{text}: their clocks differ", edge.child.mark.step or None)


def _impossible(saga: Chronicle) -> Iterator[Anomaly]:
    """Spans whose own times cannot be."""
    for each in saga.impossible:
        span, where = each.span, f"{each.span.name} in {who(each.span.process)}"
        if not each.ends_before_start:
            text = (
                f"{where} was sent with the time {dated(span.start)} UTC, which cannot be: its time of receipt is used"
            )
        elif span.start - span.end <= MARGIN_NS:
            continue
        else:
            early = (span.start - span.end) / SECOND
            text = f"{where} ends {early:.3f} s before it starts: its duration counts as 0"
        yield Anomaly("clock_skew", text, span.mark.step or None)


def _contradiction(edge: Edge) -> int:
    parent, child = edge
    if child.start < parent.start:
        return parent.start - child.start
    if is_answered_call(parent, child):
        return max(child.end - parent.end, 0)
    return child.start - parent.end if _is_after(edge) else 0


def _is_after(edge: Edge) -> bool:
    """Whether work that its caller had been told was done began only after that."""
    parent, child = edge
    told = parent.end > 0 and parent.status != "error" and child.start > parent.end
    same = (parent.mark.step, parent.mark.key, parent.mark.attempt) == (
        child.mark.step,
        child.mark.key,
        child.mark.attempt,
    )
    handed_on = parent.kind == "producer" or child.kind == "consumer"
    return told and not handed_on and (is_answered_call(parent, child) or (same and child.kind == "server"))


def missing_span(saga: Chronicle) -> Iterator[Anomaly]:
    """A final span that never came; once the saga has ended, a parent that never came."""
    for span in saga.spans:
        if span.span_id in saga.gone:
            begun = f"{span.name} in {who(span.process)}, started at {saga.at(span.start)}"
            yield Anomaly(
                "missing_span", f"{begun}, has ended; its final span was not received", span.mark.step or None
            )
    if saga.closing is None:
        return
    found = orphans(saga.spans)
    for span in found[:SHOWN]:
        text = f"The parent of {span.name} in {who(span.process)}, at {saga.at(span.start)}, was not received"
        yield Anomaly("missing_span", text, span.mark.step or None)
    if len(found) > SHOWN:
        yield Anomaly("missing_span", f"{len(found) - SHOWN} more parent spans were not received", None)


def orphans(spans: Iterable[Span]) -> list[Span]:
    """Spans in traces in which the saga had begun before, whose parent did not come: one for each parent."""
    spans = list(spans)
    known = {span.span_id for span in spans}
    begun: set[str] = set()
    found: dict[tuple[str, str], Span] = {}
    for span in spans:
        is_orphan = span.parent_id not in known and span.parent_id and span.trace_id in begun
        if is_orphan and span.mark.role != semconv.ROLE_SAGA:
            found.setdefault((span.trace_id, span.parent_id), span)
        begun.add(span.trace_id)
    return list(found.values())
