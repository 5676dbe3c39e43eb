"""Heartbeats: what each says, and what one says after the other."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from sagascope import semconv
from sagascope_collector.conformance.heard import SECOND, Heard, HeardLog
from sagascope_collector.conformance.inflight import SPAN_ID
from sagascope_collector.conformance.report import Finding
from sagascope_collector.conformance.rule import Rule
from sagascope_collector.conformance.values import is_seconds, shown
from sagascope_collector.records import Process

SECTION = "Heartbeats"

MOST_IDS = 1_000


class Word(NamedTuple):
    """One heartbeat of a process: the records with one sequence number, in the order of their parts."""

    sequence: int
    records: tuple[HeardLog, ...]

    @property
    def first(self) -> HeardLog:
        """Its first record."""
        return self.records[0]

    @property
    def listed(self) -> list[str]:
        """The span ids of all parts."""
        return [each for record in self.records for each in _list(record)]

    @property
    def is_complete(self) -> bool:
        """Whether every part came."""
        parts = self.first.attributes.get(semconv.HEARTBEAT_PARTS, 1)
        return {each.attributes.get(semconv.HEARTBEAT_PART, 1) for each in self.records} == set(range(1, parts + 1))

    @property
    def is_final(self) -> bool:
        """Whether it says goodbye."""
        return self.first.attributes.get(semconv.HEARTBEAT_FINAL) is True


def words(heard: Heard) -> dict[Process, list[Word]]:
    """The heartbeats of each process, in their order; what cannot be read is left out."""
    grouped: dict[Process, dict[int, list[HeardLog]]] = defaultdict(lambda: defaultdict(list))
    for each in heard.beats:
        sequence: Any = each.attributes.get(semconv.HEARTBEAT_SEQUENCE)
        if _is_int(sequence) and all(map(_is_part, _parts(each))):
            grouped[each.origin.process][sequence].append(each)
    return {
        process: [Word(number, _in_order(said[number])) for number in sorted(said)] for process, said in grouped.items()
    }


def _in_order(records: list[HeardLog]) -> tuple[HeardLog, ...]:
    return tuple(sorted(records, key=lambda each: int(each.attributes.get(semconv.HEARTBEAT_PART, 1))))


def _parts(record: HeardLog) -> tuple[Any, Any]:
    return tuple(record.attributes.get(key, 1) for key in (semconv.HEARTBEAT_PART, semconv.HEARTBEAT_PARTS))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_part(value: Any) -> bool:
    return _is_int(value) and 1 <= value <= MOST_IDS * 10


def _list(record: HeardLog) -> list[str]:
    listed = record.attributes.get(semconv.HEARTBEAT_OPEN_SPANS)
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []


def _field(key: str, check: Callable[[Any], bool], *, needed: bool = True) -> Callable[[Heard], Iterator[Finding]]:
    def look(heard: Heard) -> Iterator[Finding]:
        for each in heard.beats:
            if needed or key in each.attributes:
                said = each.attributes.get(key)
                yield Finding(each.where, "" if check(said) else f"it is {shown(said)}")

    return look


def _is_list(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MOST_IDS:
        return False
    return all(isinstance(each, str) and SPAN_ID.fullmatch(each) for each in value)


def _processes(heard: Heard) -> Iterator[Finding]:
    for each in heard.beats:
        yield Finding(each.where, "" if each.origin.process.identity else "its resource does not tell its process")


def _sequences(heard: Heard) -> Iterator[Finding]:
    for said in words(heard).values():
        for one, next_ in pairwise(said):
            gap = next_.sequence - one.sequence != 1
            yield Finding(next_.first.where, f"{next_.sequence} came after {one.sequence}" if gap else "")
        for word in said:
            numbers = [each.attributes.get(semconv.HEARTBEAT_PART, 1) for each in word.records]
            twice = len(set(numbers)) < len(numbers)
            yield Finding(word.first.where, f"{word.sequence} came twice" if twice else "")


def _complete(heard: Heard) -> Iterator[Finding]:
    for word in (each for said in words(heard).values() for each in said):
        wrong = "" if word.is_complete else f"parts of number {word.sequence} are missing"
        count = word.first.attributes.get(semconv.HEARTBEAT_OPEN_COUNT)
        if not wrong and count is not None and count != len(word.listed):
            wrong = f"it counts {count} and lists {len(word.listed)}"
        yield Finding(word.first.where, wrong)


def _intervals(heard: Heard) -> Iterator[Finding]:
    for said in words(heard).values():
        for one, next_ in pairwise(said):
            promised: Any = one.first.attributes.get(semconv.HEARTBEAT_INTERVAL)
            if is_seconds(promised):
                took = (next_.first.received_at - one.first.received_at) / SECOND
                late = took > float(promised) + heard.grace
                yield Finding(
                    next_.first.where, f"it came {took:.1f} s after one that said {promised} s" if late else ""
                )


def _final(heard: Heard) -> Iterator[Finding]:
    for process, said in words(heard).items():
        finals = [each for each in said if each.is_final]
        if finals:
            later = said[-1].sequence > finals[0].sequence
            at = finals[0].first.at
            begun = any(span.origin.process == process and span.start > at for span in heard.spans)
            yield Finding(finals[0].first.where, "something came that began after it" if later or begun else "")


def _announced(heard: Heard) -> Iterator[Finding]:
    """Judged of processes that were heard from their first heartbeat on."""
    started = {each.span_id for each in heard.starts} | {each.span_id for each in heard.spans}
    for said in words(heard).values():
        for word in said if said[0].sequence <= 1 else ():
            if word.listed:
                strange = [each for each in word.listed if each not in started]
                yield Finding(word.first.where, f"it lists {strange[0]}, which was not announced" if strange else "")


def _accounted(heard: Heard) -> Iterator[Finding]:
    spoken = words(heard)
    for start in heard.starts:
        later = [each for each in spoken.get(start.origin.process, ()) if each.first.at >= start.observed_at]
        complete = [each for each in later if each.is_complete]
        if start.span_id in heard.ended:
            yield Finding(start.where)
        elif complete:
            listed = start.span_id in complete[-1].listed
            yield Finding(start.where, "" if listed else "it was neither ended nor listed in the latest heartbeat")


def _ordered(heard: Heard) -> Iterator[Finding]:
    begun = {each.span_id: each.at for each in heard.starts}
    for word in (each for said in words(heard).values() for each in said):
        times = [begun[each] for each in word.listed if each in begun]
        if len(times) > 1:
            yield Finding(word.first.where, "" if times == sorted(times) else "a younger span stands before an older")


def _rule(point: str, requirement: str, fix: str, look: Callable[[Heard], Iterator[Finding]]) -> Rule:
    return Rule(SECTION, point, requirement, fix, look)


RULES = (
    _rule(
        "heartbeat.process",
        "A heartbeat's resource tells its process.",
        "Send it under the resource of the spans, with service.instance.id.",
        _processes,
    ),
    _rule(
        semconv.HEARTBEAT_INTERVAL,
        "A heartbeat says the seconds until the next, a double above 0.",
        f"Set {semconv.HEARTBEAT_INTERVAL}.",
        _field(semconv.HEARTBEAT_INTERVAL, lambda said: is_seconds(said) and said > 0),
    ),
    _rule(
        semconv.HEARTBEAT_SEQUENCE,
        "A heartbeat has a number, an int.",
        f"Set {semconv.HEARTBEAT_SEQUENCE}, counting within the process.",
        _field(semconv.HEARTBEAT_SEQUENCE, _is_int),
    ),
    _rule(
        semconv.HEARTBEAT_OPEN_SPANS,
        f"A heartbeat lists the announced spans that are open: span ids of 16 hex digits, at most {MOST_IDS:,}.",
        f"Set {semconv.HEARTBEAT_OPEN_SPANS}, an empty list where nothing is open; split longer lists into parts.",
        _field(semconv.HEARTBEAT_OPEN_SPANS, _is_list),
    ),
    _rule(
        semconv.HEARTBEAT_OPEN_COUNT,
        "The count of open spans is an int.",
        f"Set {semconv.HEARTBEAT_OPEN_COUNT}.",
        _field(semconv.HEARTBEAT_OPEN_COUNT, _is_int),
    ),
    _rule(
        semconv.HEARTBEAT_DROPPED,
        "The count of dropped records is an int.",
        f"Set {semconv.HEARTBEAT_DROPPED}, 0 where nothing was dropped.",
        _field(semconv.HEARTBEAT_DROPPED, _is_int),
    ),
    _rule(
        semconv.HEARTBEAT_FINAL,
        "Whether it is the last is a bool.",
        f"Set {semconv.HEARTBEAT_FINAL}.",
        _field(semconv.HEARTBEAT_FINAL, lambda said: isinstance(said, bool), needed=False),
    ),
    _rule(
        semconv.HEARTBEAT_PART,
        "The number of a part is an int from 1.",
        f"Set {semconv.HEARTBEAT_PART}, or leave it out.",
        _field(semconv.HEARTBEAT_PART, _is_part, needed=False),
    ),
    _rule(
        semconv.HEARTBEAT_PARTS,
        "The number of parts is an int from 1.",
        f"Set {semconv.HEARTBEAT_PARTS}, or leave it out.",
        _field(semconv.HEARTBEAT_PARTS, _is_part, needed=False),
    ),
    _rule(
        "heartbeat.sequence",
        "Each heartbeat of a process has the next number.",
        "Count up by one for each heartbeat; all its parts have one number. A forked child is another process.",
        _sequences,
    ),
    _rule(
        "heartbeat.parts",
        "All parts of a list come, and what they list is as much as is counted.",
        "Send every part, and count the announced spans that are open.",
        _complete,
    ),
    _rule(
        "heartbeat.interval",
        "The next heartbeat comes within the interval that the last one said.",
        "Send them from a timer of their own; shorten the interval that you say if that cannot be.",
        _intervals,
    ),
    _rule(
        "heartbeat.announced",
        "What a heartbeat lists was announced with a start record.",
        "List only the spans of which a start record was sent.",
        _announced,
    ),
    _rule(
        "heartbeat.accounted",
        "A span that was announced ends, or is listed in every heartbeat until then.",
        "Send the final span of everything that was announced, and list what is open.",
        _accounted,
    ),
    _rule("heartbeat.oldest", "What is open is listed oldest first.", "List spans in the order of start.", _ordered),
    _rule(
        "heartbeat.goodbye",
        "Nothing that a process begins comes after its final heartbeat.",
        "Send it last, when the process shuts down.",
        _final,
    ),
)
