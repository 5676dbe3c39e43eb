"""Telemetry told line by line, as the services of a saga would send it: the readable half of `tests/scenarios`.

A line is ``PROCESS WHEN VERB [NAME] [word=value ...]``; times are seconds from the start of the story::

    orchestrator-1  0..        root
    orchestrator-1  1..        call ledger.record
    ledger-7f9c     1.1..      run  ledger.record
    ledger-7f9c     0..4       beats every=1

``0..4`` ended, ``1..`` is open and was announced by a start record, ``1..*`` is open and was sent with end time 0,
``1..4?`` ended, but its final span was lost. The process ``ledger-7f9c`` is an instance of the service ``ledger``.

Verbs: ``root`` (the saga's root span), ``call`` (an attempt as its caller sees it), ``run`` (as its executor sees it),
``serve`` (a participant's SERVER span), ``consume`` (a CONSUMER span), ``span`` (any other span of the saga), ``log``
(a log record), ``beats`` (heartbeats of a process). Words: ``attempt key type compensates error after timeout retry_in
max idem amount wait waits_for reason resources pivot outcome under as trace kind``; ``exception`` (an exception event
at the end, and no status), ``shares`` (the span has the span id of the one called so), ``arrives`` (when the span is
received), ``event`` (the event name of a log record), and on the root ``plan``: a step is
``name/compensation?timeout``, with ``*`` behind an optional one's name.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sagascope import semconv
from sagascope_collector.durations import NANOSECONDS_PER_SECOND

SECOND = NANOSECONDS_PER_SECOND
ANNOUNCE_AFTER = 0.25


def hexadecimal(text: str, length: int) -> str:
    return sha256(text.encode()).hexdigest()[:length]


@dataclass
class Process:
    """A process as its resource describes it."""

    name: str
    service: str
    skew: float = 0
    version: str = "1.0"
    ours: bool = True
    """Whether Sagascope's instrumentation makes its spans."""
    known: bool = True
    """False: nothing in its resource tells it from another process of the service."""
    environment: str = ""

    def resource(self) -> dict[str, Any]:
        said = {"service.name": self.service, "service.version": self.version}
        if self.environment:
            said["deployment.environment.name"] = self.environment
        if self.known:
            said |= {"service.instance.id": self.name, semconv.PROCESS_ID: f"process of {self.name}"}
        return said


@dataclass
class EmittedSpan:
    """A span, in seconds of its own process's clock."""

    process: Process
    label: str
    name: str
    kind: str
    start: float
    end: float | None
    form: str
    """``final``, ``announced``, ``zero`` (sent while it was open) or ``lost`` (ended, announced, final span lost)."""
    trace: str
    parent: str
    """Label of the span above, or ``""``."""
    attributes: dict[str, Any]
    error: str | None
    links: list[dict[str, Any]] = field(default_factory=list)
    salt: str = ""
    exception: str | None = None
    """Of an exception event at its end, where the status stays unset."""
    shares: str = ""
    """Label of the span with whose span id it was sent."""
    arrives: float | None = None
    """When it is received, where that is not as soon as it ended."""

    @property
    def span_id(self) -> str:
        return hexadecimal(f"{self.salt} {self.shares or self.label}", 16)

    @property
    def parent_id(self) -> str:
        return hexadecimal(f"{self.salt} {self.parent}", 16) if self.parent else ""

    @property
    def trace_id(self) -> str:
        return hexadecimal(f"{self.salt} trace {self.trace}", 32)


@dataclass
class EmittedLog:
    """A log record, likewise."""

    process: Process
    at: float
    observed: float
    event: str
    body: str | None
    trace: str
    span: str
    attributes: dict[str, Any]


@dataclass
class Telemetry:
    """The spans and log records that one case emits."""

    spans: list[EmittedSpan]
    logs: list[EmittedLog]


def emit(
    story: str, saga: Mapping[str, str], processes: Mapping[str, Mapping[str, Any]] | None = None, salt: str = ""
) -> Telemetry:
    """Returns the telemetry of a story.

    ``saga`` has ``id``, and mostly ``name``; ``processes`` holds what is special about some of them.

    Stories of another ``salt`` have other trace and span ids.
    """
    return _Teller(saga, processes or {}, salt).emit(story)


class _Teller:
    def __init__(self, saga: Mapping[str, str], processes: Mapping[str, Mapping[str, Any]], salt: str) -> None:
        self._saga, self._salt = saga, salt
        self._special = processes
        self._processes: dict[str, Process] = {}
        self._spans: list[EmittedSpan] = []
        self._logs: list[EmittedLog] = []
        self._beats: list[tuple[Process, float, float, dict[str, str]]] = []

    def emit(self, story: str) -> Telemetry:
        for line in story.splitlines():
            if line.strip() and not line.strip().startswith("#"):
                self._line(shlex.split(line))
        for process, start, end, words in self._beats:
            self._beat(process, start, end, words)
        for span in self._spans:
            span.parent = span.parent or self._above(span)
        return Telemetry(self._spans, self._logs)

    def _line(self, words: list[str]) -> None:
        process, when, verb = self._process(words[0]), words[1], words[2]
        rest = words[3:]
        name = rest.pop(0) if rest and "=" not in rest[0] else ""
        said = dict(word.split("=", 1) for word in rest)
        start, _, end = when.partition("..")
        if verb == "beats":
            self._beats.append((process, float(start), float(end), said))
        elif verb == "log":
            self._log(process, float(start), name, said)
        else:
            self._span(process, float(start), end if ".." in when else start, verb, name, said)

    def _process(self, name: str) -> Process:
        if name not in self._processes:
            special = dict(self._special.get(name, {}))
            service = special.pop("service", name.rpartition("-")[0] or name)
            self._processes[name] = Process(name, service, **special)
        return self._processes[name]

    def _marks(self, said: Mapping[str, str]) -> dict[str, Any]:
        given = {"id": said.get("id", self._saga.get("id", "")), "name": said.get("saga", self._saga.get("name", ""))}
        marks = {semconv.SAGA_ID: given["id"], semconv.SAGA_NAME: given["name"]}
        marks[semconv.SAGA_RUN_ID] = said.get("run", self._saga.get("run", ""))
        return {name: value for name, value in marks.items() if value not in ("", "-")}

    def _log(self, process: Process, at: float, body: str, said: dict[str, str]) -> None:
        attributes = self._marks(said) | _attributes(said)
        self._logs.append(
            EmittedLog(
                process, at, at, said.get("event", ""), body, said.get("trace", "1"), said.get("in", ""), attributes
            )
        )

    def _span(self, process: Process, start: float, end: str, verb: str, name: str, said: dict[str, str]) -> None:
        form = {"": "announced", "*": "zero"}.get(end, "lost" if end.endswith("?") else "final")
        kind = {"serve": "server", "consume": "consumer", "call": "client"}.get(verb, "internal")
        attributes = self._marks(said) | _attributes(said)
        if verb == "root":
            attributes[semconv.SAGA_ROLE] = semconv.ROLE_SAGA
        else:
            attributes |= _step(verb, name, said)
        number = len(self._spans)
        span = EmittedSpan(
            process=process,
            label=said.get("as", f"{number} {process.name} {verb} {name}"),
            name=name or str(self._saga.get("name", "saga")),
            kind=said.get("kind", kind),
            start=start,
            end=float(end.rstrip("?")) if form in ("final", "lost") else None,
            form=form,
            trace=said.get("trace", self._trace_of(said.get("under", ""))),
            parent=said.get("under", ""),
            attributes=attributes,
            error=said.get("error"),
            salt=self._salt,
            exception=said.get("exception"),
            shares=said.get("shares", ""),
            arrives=float(said["arrives"]) if "arrives" in said else None,
        )
        if "links" in said:
            span.links = [{semconv.SAGA_ID: each, **_step("run", name, said)} for each in said["links"].split(",")]
        self._spans.append(span)
        if form in ("announced", "lost"):
            self._announce(span, float(said.get("announced", ANNOUNCE_AFTER)))

    def _trace_of(self, under: str) -> str:
        return next((span.trace for span in self._spans if span.label == under), "1")

    def _announce(self, span: EmittedSpan, after: float) -> None:
        at = span.start + after
        self._logs.append(
            EmittedLog(span.process, span.start, at, semconv.EVENT_SPAN_START, None, span.trace, span.label, {})
        )

    def _beat(self, process: Process, start: float, end: float, words: dict[str, str]) -> None:
        every = float(words.get("every", "5"))
        at, sequence = start, 0
        while at <= end + 1e-9:
            final = words.get("final") == "true" and at + every > end + 1e-9
            self._logs.append(self._heartbeat(process, at, every, sequence, final))
            at, sequence = round(at + every, 6), sequence + 1

    def _heartbeat(self, process: Process, at: float, every: float, sequence: int, final: bool) -> EmittedLog:
        spans = [
            span.span_id
            for span in self._spans
            if span.process is process
            and span.form in ("announced", "lost", "final")
            and span.start + ANNOUNCE_AFTER <= at
            and (span.end is None or span.end > at)
        ]
        attributes = {
            semconv.HEARTBEAT_INTERVAL: every,
            semconv.HEARTBEAT_SEQUENCE: sequence,
            semconv.HEARTBEAT_OPEN_SPANS: spans,
            semconv.HEARTBEAT_OPEN_COUNT: len(spans),
            semconv.HEARTBEAT_DROPPED: 0,
            semconv.HEARTBEAT_FINAL: final,
        }
        return EmittedLog(process, at, at, semconv.EVENT_HEARTBEAT, None, "", "", attributes)

    def _above(self, span: EmittedSpan) -> str:
        """The label of the span right above: where the work came from, as far as the story lets see."""
        for fits in (_serves, _calls, _roots):
            above = [each for each in self._spans if each is not span and fits(each, span)]
            if above:
                return above[-1].label
        return ""


def _same_try(one: EmittedSpan, other: EmittedSpan) -> bool:
    names = (semconv.STEP_NAME, semconv.STEP_KEY, semconv.STEP_ATTEMPT)
    return all(one.attributes.get(name) == other.attributes.get(name) for name in names)


def _serves(above: EmittedSpan, span: EmittedSpan) -> bool:
    received = above.kind in ("server", "consumer") and above.attributes.get(semconv.SAGA_ROLE) is None
    return received and above.process is span.process and span.kind == "internal" and _same_try(above, span)


def _calls(above: EmittedSpan, span: EmittedSpan) -> bool:
    calls = above.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP and above.kind == "client"
    return calls and above.process is not span.process and span.kind != "client" and _same_try(above, span)


def _roots(above: EmittedSpan, span: EmittedSpan) -> bool:
    same_trace = above.trace == span.trace and above.process is span.process
    return above.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_SAGA and same_trace and span.kind != "server"


def _step(verb: str, name: str, said: Mapping[str, str]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if name and verb != "span":
        attributes[semconv.STEP_NAME] = name
        if said.get("attempt") != "-":
            attributes[semconv.STEP_ATTEMPT] = int(said.get("attempt", "1"))
    if verb in ("call", "run"):
        attributes[semconv.SAGA_ROLE] = semconv.ROLE_STEP
    if "compensates" in said:
        attributes[semconv.STEP_TYPE] = semconv.TYPE_COMPENSATION
        if said["compensates"] != "-":
            attributes[semconv.STEP_COMPENSATES] = said["compensates"]
    return attributes


def _attributes(said: Mapping[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for word, (name, of) in _WORDS.items():
        if word in said:
            read[name] = of(said[word])
    if "amount" in said:
        value, _, currency = said["amount"].partition(" ")
        read[semconv.AMOUNT] = value
        if currency:
            read[semconv.CURRENCY] = currency
    if "plan" in said:
        read |= plan(said["plan"], said.get("after"))
    for word, value in said.items():
        if word.startswith("key."):
            read[semconv.KEY_PREFIX + word.removeprefix("key.")] = value
        elif word.startswith("@"):
            read[word[1:]] = int(value) if value.isdigit() else value
    return read


_WORDS: dict[str, tuple[str, Any]] = {
    "key": (semconv.STEP_KEY, str),
    "type": (semconv.STEP_TYPE, str),
    "timeout": (semconv.STEP_TIMEOUT, float),
    "retry_in": (semconv.STEP_RETRY_IN, float),
    "max": (semconv.STEP_MAX_ATTEMPTS, int),
    "idem": (semconv.STEP_IDEMPOTENCY_KEY, str),
    "pivot": (semconv.STEP_PIVOT, lambda text: text == "true"),
    "wait": (semconv.WAIT_UNTIL, lambda text: Moment(float(text))),
    "waits_for": (semconv.WAIT_FOR, str),
    "reason": (semconv.WAIT_REASON, str),
    "outcome": (semconv.SAGA_OUTCOME, str),
    "saga_timeout": (semconv.SAGA_TIMEOUT, float),
    "resources": (semconv.STEP_RESOURCES, lambda text: text.split(",")),
}


class Moment(float):
    """Seconds of the story, to be sent as Unix seconds."""


def plan(text: str, after: str | None = None) -> dict[str, Any]:
    """``fraud.check, wallet.debit/wallet.refund?5, gift*`` as the root's attributes."""
    names, compensations, timeouts, optional = [], [], [], []
    for each in text.split(","):
        step, _, timeout = each.strip().partition("?")
        name, _, compensation = step.partition("/")
        names.append(name.rstrip("*"))
        optional.append(name.endswith("*"))
        compensations.append(compensation)
        timeouts.append(float(timeout or 0))
    read: dict[str, Any] = {semconv.PLAN: names}
    if any(compensations):
        read[semconv.PLAN_COMPENSATIONS] = compensations
    if any(timeouts):
        read[semconv.PLAN_TIMEOUTS] = timeouts
    if any(optional):
        read[semconv.PLAN_OPTIONAL] = optional
    if after is not None:
        read[semconv.PLAN_AFTER] = [each.strip().replace("+", ",") for each in after.split(",")]
    return read


def start_attributes(span: EmittedSpan) -> dict[str, Any]:
    """What a start record says of its span."""
    return span.attributes | {
        semconv.SPAN_NAME: span.name,
        semconv.SPAN_KIND: span.kind,
        semconv.SPAN_PARENT_ID: span.parent_id,
    }


def by_label(spans: Iterable[EmittedSpan]) -> dict[str, EmittedSpan]:
    return {span.label: span for span in spans}
