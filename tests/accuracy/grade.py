"""Plays a saga, diagnoses it at the decisive moments, and grades the answers."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf
from random import Random

from accuracy.faults import COMPLETE, Damage, Fault, damage, fault
from accuracy.harm import harm, untrue
from accuracy.shapes import Shape, shape
from accuracy.telemetry import SECOND, SENT_WITHIN, STARTED, Telemetry, emit
from accuracy.truth import PRECEDENCE, Claim, claims, is_loss_evident
from accuracy.world import Story, play
from sagascope_collector.analysis import (
    Baseline,
    Context,
    Diagnosis,
    Saga,
    is_other_deadline,
    learn_baseline,
    must_report_by,
    rebuild,
    take_sample,
)
from sagascope_collector.analysis.assembly import reports_in_time
from sagascope_collector.analysis.case import Case
from sagascope_collector.analysis.diagnosis import actions_of, diagnosis_of, find_attention
from sagascope_collector.analysis.model import Confidence
from sagascope_collector.analysis.spans import (
    JoinedSpans,
    is_unlisted,
    join_records,
    lost_spans,
    process_key,
    processes,
)
from sagascope_collector.analysis.wording import Action
from sagascope_collector.records import Facts, Instance

REQUIRED_AFTER_SECONDS = 2.0
"""After what is wrong can be known, it must be said."""

SKEW_SECONDS = 2.2
"""By which a deadline may be misjudged where clocks differ by so much: less than what anything is late by."""

TAUGHT = 26
"""Finished sagas from which a plan is learned; a fifth was compensated: too few to learn how long that takes."""

LEARNED_TYPES = 60
"""Types of sagas with a learned plan that a seed makes, since each has to be taught; others are made anew each time."""

DIAGNOSED_EVERY = 4
"""One saga of so many is diagnosed at each moment, as its page is; the others when the collector does it itself."""

DELAYS = (0.0, 0.25, 0.5, 1.0, 2.0)
HOLDS_SECONDS = 130.0


@dataclass(frozen=True)
class Problem:
    """Something that was said wrongly."""

    kind: str
    """One of `report.KINDS`."""
    at: float
    text: str


@dataclass
class Grade:
    """What became of one saga."""

    number: int
    label: str
    """``complete``, ``plain`` (no damage, but services without start records), ``skewed`` or ``damaged``."""
    fault: str
    expected: str = "none"
    answer: str = "none"
    is_faulty: bool = False
    delay: float | None = None
    """Seconds from when it can be known to the verdict."""
    since_fact: float | None = None
    """Seconds from when it happened to the verdict."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Played:
    """A saga with its truth."""

    number: int
    shape: Shape
    fault: Fault
    damage: Damage
    story: Story
    assembled: Telemetry
    claims: list[Claim]


def played(seed: int, number: int) -> Played:
    """The saga of a number; the same each time."""
    chance = Random(f"{seed} {number}")
    form = shape(chance, number)
    if form.plan == "learned":
        kind = chance.randrange(LEARNED_TYPES)
        form = shape(Random(f"{seed} learned {kind}"), kind, "learned")
    wrong, damaged = fault(chance, form), damage(chance, form)
    own = chance.randrange(2**40)
    story = play(form, wrong, own)
    assembled = emit(story, damaged, own)
    is_damaged = damaged.label == "damaged"
    ideal = emit(story, COMPLETE if is_damaged else replace(damaged, skew={}), own)
    right = [_delayed(each, assembled) for each in claims(story, ideal)]
    if is_damaged:
        known = [each for each in claims(story, assembled) if each.is_required]
        right = [_if_known(each, known, assembled) if each.is_required else each for each in right]
    return Played(number, form, wrong, damaged, story, assembled, right)


def _if_known(claim: Claim, known: Sequence[Claim], assembled: Telemetry) -> Claim:
    """A required claim, once all has come; it is not required where the records that came do not tell it."""
    telling = [each for each in known if each.codes & claim.codes and each.steps & claim.steps]
    if not telling:
        return replace(claim, is_required=False)
    return replace(claim, latest=max([claim.latest, assembled.arrivals[-1][0], *(each.latest for each in telling)]))


def _delayed(claim: Claim, assembled: Telemetry) -> Claim:
    """The claim with as much more time as the collector did not receive before its deadline."""
    if assembled.outage is None or claim.latest <= assembled.outage[0]:
        return claim
    return replace(claim, latest=claim.latest + assembled.outage[1] - assembled.outage[0])


@cache
def taught(seed: int, form: Shape) -> Mapping[tuple[str, str], Baseline]:
    """What finished sagas of a type with a learned plan taught."""
    samples = []
    easy = replace(form, steps=tuple(replace(step, max_attempts=1) for step in form.steps))
    for number in range(TAUGHT):
        last = len(form.steps) - 1
        story = play(easy, Fault("refused" if number % 5 == 4 else "none", place=last), 1_000_000 + number)
        now = min(story.ended, 5_000.0) + 5
        for each in rebuild(emit(story, COMPLETE, number).facts(now), STARTED + round(now * SECOND)):
            samples += [found] if (found := take_sample(each)) is not None else []
    renamed = (replace(each, key=each.key._replace(id=str(number))) for number, each in enumerate(samples))
    return {("", form.name): learn_baseline(renamed)}


def grade(seed: int, number: int) -> Grade:
    """Diagnose one saga at the moments that matter."""
    return Grader(seed, played(seed, number)).grade()


@dataclass(frozen=True)
class _View:
    """A diagnosis, and what it rests on."""

    at: float
    deaf: tuple[tuple[int, int], ...]
    saga: Saga
    diagnosis: Diagnosis
    actions: Sequence[Action]


@dataclass(frozen=True)
class _Rebuilt:
    """A rebuilt saga, and what decides whether it stays the same as time goes on."""

    records: int
    saga: Saga
    joined: JoinedSpans
    driver: tuple[bool, ...]


def _driver(saga: Saga, instances: Mapping[tuple[str, str], Instance], now: int) -> tuple[bool, ...]:
    """What decides whether telemetry of the saga may be missing, beside its records."""
    instance = instances.get(process_key(saga.root.process)) if saga.root is not None else None
    if instance is None or instance.heartbeat is None:
        return ()
    beat = instance.heartbeat
    is_open = [is_unlisted(span_id, at, beat) for span_id, at in saga.announced.items()]
    return beat.dropped > 0, reports_in_time(instance, beat, now), *is_open


def _stands(diagnosis: Diagnosis, facts: Facts, now: int) -> bool:
    """Whether the collector does not diagnose again: nothing is due, and no process became late, or reports again."""
    if diagnosis.due_at is not None and diagnosis.due_at <= now:
        return False
    known = processes(facts.instances) if diagnosis.report_deadlines else {}
    held = diagnosis.report_deadlines.items()
    return not any(is_other_deadline(each, must_report_by(known.get(process)), now) for process, each in held)


class Grader:
    """Grades one saga."""

    def __init__(self, seed: int, case: Played) -> None:
        self._case = case
        label = case.damage.label
        self._result = Grade(
            case.number, "plain" if label == "complete" and case.shape.plain else label, case.fault.kind
        )
        self.baselines = taught(seed, case.shape) if case.shape.plan == "learned" else {}
        self._seen: tuple[float, Diagnosis] | None = None
        self._is_diagnosed_anew = case.number % DIAGNOSED_EVERY == 0
        self._last: _View | None = None
        self._rebuilt: _Rebuilt | None = None

    def grade(self) -> Grade:
        result, case = self._result, self._case
        required = [claim for claim in case.claims if claim.is_required and claim.latest < inf]
        result.is_faulty = bool(required)
        for at in sorted(self._moments(required)):
            self._look(at)
        for claim in required:
            self._await(claim)
        at = max(
            [self._quiet_at(), *(claim.latest + REQUIRED_AFTER_SECONDS for claim in required if claim.until == inf)]
        )
        result.expected = self._expected(at)
        result.answer = self._look(at)
        self._look(at + HOLDS_SECONDS)
        return result

    def _quiet_at(self) -> float:
        return (self._case.assembled.arrivals[-1][0] if self._case.assembled.arrivals else 0.0) + 0.5

    def _moments(self, required: list[Claim]) -> Iterator[float]:
        times = [at for at, _ in self._case.assembled.arrivals]
        gaps = sorted(((after - before, after) for before, after in itertools.pairwise(times)), reverse=True)
        yield from (after - 0.001 for seconds, after in gaps[:2] if seconds > 0.3)
        yield from (claim.earliest - 0.5 for claim in required if claim.earliest > 0.5)
        if times:
            yield Random(self._case.number).uniform(times[0], times[-1] + 10)

    def _await(self, claim: Claim) -> None:
        """Find out how long after a claim can be known it is said."""
        for delay in DELAYS:
            at = claim.latest + delay
            if at >= claim.until:
                return
            answer = self._look(at)
            if answer in claim.codes:
                if self._result.delay is None:
                    self._result.delay, self._result.since_fact = delay, at - claim.fact
                return

    def _expected(self, at: float) -> str:
        must = self._must(at)
        return PRECEDENCE[must[0].rank] if must else "none"

    def _must(self, at: float) -> list[Claim]:
        found = [
            claim
            for claim in self._case.claims
            if claim.is_required and claim.latest + REQUIRED_AFTER_SECONDS <= at < claim.until
        ]
        return sorted(found, key=lambda claim: claim.rank)

    def _may(self, at: float) -> list[Claim]:
        early = SKEW_SECONDS if self._case.damage.skew else 0.0
        return [claim for claim in self._case.claims if claim.earliest - early <= at <= claim.until]

    def _look(self, at: float) -> str:
        """Have it diagnosed at a moment, and note what is wrong with that; the code that was said."""
        view = self._view(at)
        if view is None:
            return "none"
        diagnosis = view.diagnosis
        for kind, text in untrue(self._case.story, at, view.saga, diagnosis.customer_line):
            self._note(kind, at, text)
        if diagnosis.verdict is None:
            if must := self._must(at):
                self._note("missed", at, PRECEDENCE[must[0].rank])
            return "none"
        if found := harm(self._case.story, at, view.actions):
            self._note("harmful", at, f"{diagnosis.verdict.reason.value} {found}")
        return self._check_verdict(at, diagnosis)

    def _view(self, at: float) -> "_View | None":
        """What the collector shows of the saga at a moment: the latest diagnosis, as long as that stands."""
        assembled, now = self._case.assembled, STARTED + round(at * SECOND)
        records = assembled.count(at)
        outage = assembled.outage
        deaf = ()
        if outage and at > outage[0]:
            deaf = ((STARTED + round(outage[0] * SECOND), min(now, STARTED + round(outage[1] * SECOND))),)
        facts = assembled.facts(at)
        saga = self.saga_of(facts, records, now)
        if saga is None:
            return None
        last = self._last
        is_same = last is not None and last.at <= at and last.saga is saga and last.deaf == deaf
        if last is not None and is_same and not self._is_diagnosed_anew and _stands(last.diagnosis, facts, now):
            return last
        case = Case(saga, facts.instances, Context(now, ingest_outages=deaf, baselines=self.baselines))
        finding = find_attention(case)
        diagnosis = diagnosis_of(case, finding)
        actions = actions_of(case, finding) if finding is not None else []
        self._check_reminder(at, diagnosis)
        self._last = _View(at, deaf, saga, diagnosis, actions)
        return self._last

    def saga_of(self, facts: Facts, records: int, now: int) -> Saga | None:
        """The saga as it is rebuilt from these facts; not anew where that could not make it another."""
        instances = processes(facts.instances)
        if self._rebuilt is None or self._rebuilt.records != records:
            sagas = rebuild(facts, now, self.baselines)
            if len(sagas) > 1:
                self._note("split", (now - STARTED) / SECOND, str([saga.key for saga in sagas]))
            if len(sagas) != 1:
                return None
            self._rebuilt = _Rebuilt(
                records, sagas[0], join_records(facts.spans, facts.logs), _driver(sagas[0], instances, now)
            )
            return sagas[0]
        known = self._rebuilt
        lost = lost_spans(known.joined, instances, now) if known.joined.announced else frozenset()
        driver = _driver(known.saga, instances, now)
        if lost != known.saga.lost_spans or driver != known.driver:
            self._rebuilt = replace(known, saga=rebuild(facts, now, self.baselines)[0], driver=driver)
        return self._rebuilt.saga

    def _check_reminder(self, at: float, diagnosis: Diagnosis) -> None:
        """Nothing is said that no re-evaluation would have found: without a record in between, one was asked for."""
        if self._seen is not None and self._seen[0] < at:
            before, earlier = self._seen
            news = [came for came, _ in self._case.assembled.arrivals]
            news += [each.dies + SENT_WITHIN for each in self._case.story.processes if each.reports_shutdown]
            is_quiet = not any(before < came <= at + SENT_WITHIN for came in news)
            is_quiet = is_quiet and self._result.label != "damaged"
            is_new = earlier.verdict is None and diagnosis.verdict is not None
            if (
                is_quiet
                and is_new
                and (earlier.due_at is None or earlier.due_at > STARTED + round((at + SENT_WITHIN) * SECOND))
            ):
                self._note("not_reminded", at, str(diagnosis.headline))
        self._seen = (at, diagnosis)

    def _check_verdict(self, at: float, diagnosis: Diagnosis) -> str:
        verdict = diagnosis.verdict
        assert verdict is not None
        code, step = verdict.reason.value, verdict.step or ""
        fitting = [claim for claim in self._may(at) if code in claim.codes]
        if any(step in claim.steps for claim in fitting):
            must = self._must(at)
            if must and must[0].rank < PRECEDENCE.index(code) and code not in must[0].codes:
                self._note("wrong_code", at, f"{code}, not {PRECEDENCE[must[0].rank]}: {verdict.headline}")
            return code
        if self._result.label == "damaged":
            is_evident = is_loss_evident(self._case.story, self._case.assembled, at)
            if verdict.confidence is not Confidence.POSSIBLE and is_evident:
                self._note("overconfident", at, f"{verdict.confidence.value} {code}: {verdict.headline}")
            return code
        if fitting:
            self._note("wrong_step", at, f"{code} {step}, not {sorted(fitting[0].steps)}: {verdict.headline}")
        elif must := self._must(at):
            self._note("wrong_code", at, f"{code}, not {PRECEDENCE[must[0].rank]}: {verdict.headline}")
        else:
            self._note("false_alarm", at, f"{code} {step}: {verdict.headline}")
        return code

    def _note(self, kind: str, at: float, text: str) -> None:
        if not any(each.kind == kind for each in self._result.problems):
            self._result.problems.append(Problem(kind, at, text))
