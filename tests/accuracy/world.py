"""Plays one saga of a shape with a fault: who worked on what, when, and what took effect. Nothing here knows telemetry.

Times are seconds since the saga began. `Story` is the truth by which the diagnosis is graded.
"""

from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from random import Random

from accuracy.faults import Fault
from accuracy.shapes import DEFAULT_ALLOWED_SECONDS, LONGEST_LEARNED_SECONDS, Shape, Step

CALL_SECONDS = 0.004
REFUSED = "Refused: no rooms left"
TIMED_OUT = "TimeoutError: no answer"
RESET = "ConnectionResetError: connection reset by peer"
NEVER_SENT = "ConnectionRefusedError: connection refused"
CALL_TIMEOUT_SECONDS = 2.0


@dataclass
class Process:
    """A process of a service."""

    name: str
    service: str
    is_plain: bool
    is_busy: bool
    """Whether other sagas keep it busy, so that it sends heartbeats every few seconds in any case."""
    phase: float
    dies: float = inf
    reports_shutdown: bool = False


@dataclass
class Work:
    """One attempt of a step, or of a compensation."""

    step: Step
    kind: str
    """``action``, ``compensation``, ``prepare``, ``commit`` or ``rollback``."""
    number: int
    caller: Process | None
    executor: Process
    called: float
    began: float
    """When the executor started it; infinite where it never did."""
    ended: float = inf
    returned: float = inf
    """When the caller knew how it ended."""
    executor_error: str = ""
    caller_error: str = ""
    effect: float = inf
    """When it took effect."""
    retry_in: float | None = None
    is_last_allowed: bool = False
    cause: "Work | None" = None
    """The work that caused it, where no caller did; of a second delivery, the first."""
    is_redelivery: bool = False
    outcome: str = ""
    """``completed``, ``compensated`` or ``failed``, where it closes the saga."""

    @property
    def name(self) -> str:
        return self.step.compensation if self.kind == "compensation" else self.step.name

    @property
    def is_forward(self) -> bool:
        return self.kind not in ("compensation", "rollback")

    @property
    def over(self) -> float:
        """When the last of those who worked on it knew that it was over."""
        return max(self.ended if self.began < inf else 0.0, self.returned if self.caller else 0.0)


@dataclass
class Story:
    """What happened."""

    shape: Shape
    fault: Fault
    processes: list[Process]
    boss: Process | None
    works: list[Work] = field(default_factory=list)
    ended: float = inf
    """When the saga was closed."""
    outcome: str = ""
    stopped_at: float = inf
    """When the process that runs it ceased to do anything, although it should have; infinite where it did not."""
    gives_up: bool = False
    """Whether it stopped on the way back, or after a failure for good."""

    def executions(self, step: Step, at: float) -> int:
        """How often a step has taken effect by a moment; with an idempotency key, once."""
        number = sum(
            work.effect <= at and work.effect < inf
            for work in self.works
            if work.step is step and work.kind in ("action", "commit")
        )
        return min(number, 1) if self.shape.has_keys else number

    def compensations(self, step: Step, at: float) -> int:
        """How often its compensation has, likewise."""
        number = sum(
            work.effect <= at and work.effect < inf
            for work in self.works
            if work.step is step and work.kind == "compensation"
        )
        return min(number, 1) if self.shape.has_keys else number

    def in_effect(self, step: Step, at: float) -> int:
        return max(0, self.executions(step, at) - self.compensations(step, at))


def play(shape: Shape, fault: Fault, seed: int) -> Story:
    """Play a saga; where its own process is to be killed, first without that, to know when the kill falls."""
    if fault.kind != "boss_killed":
        return _player(shape, fault, seed).play()
    calm = replace(fault, kind="refused" if fault.is_compensation else "none")
    length = min(_player(shape, calm, seed).play().ended, 200.0)
    player = _player(shape, replace(calm, kind=calm.kind), seed)
    assert player.story.boss is not None
    player.story.boss.dies = 0.05 + fault.stage * (length - 0.05)
    player.story.boss.reports_shutdown = fault.reports_shutdown
    story = player.play()
    story.fault = fault
    return story


def _player(shape: Shape, fault: Fault, seed: int) -> "_Player":
    of_style = {"choreography": _Choreography, "two_phase": _TwoPhase}
    return of_style.get(shape.style, _Orchestrated)(shape, fault, seed)


class _Player:
    def __init__(self, shape: Shape, fault: Fault, seed: int) -> None:
        self.shape, self.fault, self.seed = shape, fault, seed
        chance = Random(seed)
        self.processes = {
            service: [
                Process(
                    f"{service}-{number}", service, service in shape.plain, chance.random() < 0.75, chance.uniform(0, 5)
                )
                for number in (1, 2)
            ]
            for service in shape.services
        }
        self._chance = chance
        boss = self.processes["boss"][0] if "boss" in self.processes else None
        self.story = Story(shape, fault, [each for both in self.processes.values() for each in both], boss)
        self.refused = self._refused_place()
        self.victim = self._victim()

    def _refused_place(self) -> int | None:
        """The step that is refused for good, where something is to go wrong on the way back."""
        kind, steps = self.fault.kind, self.shape.steps
        if kind in ("refused", "compensation_refused", "compensation_hangs", "not_compensated"):
            return max(self.fault.place, min(1, len(steps) - 1))
        if self.fault.is_compensation and kind in (
            "hang",
            "executor_killed",
            "answer_lost",
            "retried",
            "delivered_twice",
        ):
            return len(steps) - 1
        return None

    def _victim(self) -> tuple[int, str] | None:
        """(place, kind) of the work that the fault hits."""
        if self.fault.kind in ("compensation_refused", "compensation_hangs") or (
            self.refused is not None and self.fault.kind not in ("refused", "not_compensated")
        ):
            candidates = [place for place, step in enumerate(self.shape.steps[: self.refused]) if step.compensation]
            return (candidates[self.fault.place % len(candidates)], "compensation") if candidates else None
        return self.fault.place, "action"

    def length(self, work: str) -> float:
        """Seconds that some work takes; the same in each play of one seed."""
        chance = Random(f"{self.seed} {work}")
        if self.shape.plan != "learned" and chance.random() < 0.06:
            return chance.uniform(4.0, 0.8 * DEFAULT_ALLOWED_SECONDS)
        return min(chance.lognormvariate(-1.2, 1.0), LONGEST_LEARNED_SECONDS)

    def _takes(self, step: Step, kind: str, number: int) -> float:
        seconds = self.length(f"{step.name} {step.key} {kind} {number}")
        is_action = kind == "action"
        return min(seconds, 0.7 * self.shape.allowed_for_attempt(step, is_compensation=not is_action))

    def _gap(self, what: str) -> float:
        chance = Random(f"{self.seed} gap {what}")
        return chance.uniform(0.5, 3.0) if chance.random() < 0.06 else chance.uniform(0.001, 0.03)

    def _executor(self, service: str, at: float, what: str) -> Process:
        both = self.processes[service]
        first = Random(f"{self.seed} who {what}").randrange(2)
        ordered = (both[first], both[1 - first])
        return next((each for each in ordered if each.dies > at), ordered[0])

    def _behaviour(self, place: int, kind: str, number: int) -> str:
        fault = self.fault.kind
        if kind == "action" and place == self.refused:
            return "refuse"
        if self.victim != (place, kind):
            return ""
        if fault in ("retried_forever", "compensation_refused"):
            return "refuse"
        if fault == "forgotten" and self.fault.has_effect and self.shape.style == "orchestrated":
            return "refuse"
        if number > 1:
            return ""
        names = {
            "retried": "refuse", "hang": "hang", "compensation_hangs": "hang", "executor_killed": "kill",
            "delivered_twice": "twice", "late_first_attempt": "late", "answer_lost": "unanswered",
        }  # fmt: skip
        return names.get(fault, "")

    def max_attempts(self, place: int, kind: str) -> int:
        step = self.shape.steps[place]
        if self.victim == (place, kind) and self.fault.kind in ("retried", "late_first_attempt"):
            return max(2, step.max_attempts)
        if self.victim == (place, kind) and self.fault.kind == "retried_forever":
            return 40
        if self.victim == (place, kind) and self.fault.kind == "forgotten" and self.fault.has_effect:
            return step.max_attempts + 1
        return step.max_attempts

    def execute(self, work: Work, behaviour: str, what: str) -> None:
        """Let the executor do its part."""
        seconds = self._takes(work.step, work.kind, work.number)
        work.ended = work.began + seconds
        if behaviour == "refuse":
            work.executor_error = REFUSED
        elif behaviour == "hang":
            work.ended = inf
            if self.fault.has_effect:
                work.effect = work.began + 0.5 * seconds
        elif behaviour == "kill":
            self._kill(work, seconds)
        elif behaviour == "late":
            work.ended = work.began + CALL_TIMEOUT_SECONDS + 1 + 3 * self.fault.stage
            work.effect = work.ended
        else:
            work.effect = work.ended
        del what

    def _kill(self, work: Work, seconds: float) -> None:
        died = work.began + max(0.02, self.fault.stage) * seconds
        work.executor.dies, work.executor.reports_shutdown = died, self.fault.reports_shutdown
        work.ended = inf
        if self.fault.has_effect:
            work.effect = died - 0.01

    def second_delivery(self, first: Work) -> Work:
        """The same message once more, to the other process of the service."""
        both = self.processes[first.executor.service]
        other = both[1] if both[0] is first.executor else both[0]
        at = first.ended + 0.3 + self._gap("redelivery")
        again = replace(
            first, executor=other, began=at, ended=at + 0.2, effect=at + 0.2, cause=first, is_redelivery=True
        )
        return replace(again, outcome="")

    def play(self) -> Story:
        raise NotImplementedError


class _Orchestrated(_Player):
    """One process calls for each step, and for each compensation."""

    def play(self) -> Story:
        story = self.story
        assert story.boss is not None
        ends = self._forward()
        failed_at = min((at for at, how in ends.values() if how == "failed"), default=inf)
        stop_at = self._forgets_at(ends)
        story.works = [work for work in story.works if work.called <= min(failed_at, stop_at)]
        if any(how == "stuck" for _, how in ends.values()) or (
            story.boss.dies < inf and story.boss.dies < self._last()
        ):
            return self._stop(story, failed_at)
        if stop_at < inf:
            return self._stop(story, failed_at, stop_at)
        if failed_at < inf:
            return self._backward(story, failed_at)
        if self.fault.kind == "not_closed":
            return self._stop(story, inf, self._last())
        return self._close(story, self._last(), "completed")

    def _last(self) -> float:
        return max((work.returned for work in self.story.works if work.returned < inf), default=0.0)

    def _stop(self, story: Story, failed_at: float, at: float | None = None) -> Story:
        assert story.boss is not None
        if at is not None:
            story.stopped_at = at
        story.gives_up = failed_at < inf
        self._cut()
        return story

    def _close(self, story: Story, at: float, outcome: str) -> Story:
        assert story.boss is not None
        at += self._gap("close")
        if at < story.boss.dies:
            story.ended, story.outcome = at, outcome
        self._cut()
        return story

    def _cut(self) -> None:
        """Nothing starts, and no answer is noted, after the process that calls is dead."""
        boss, works = self.story.boss, self.story.works
        assert boss is not None
        works[:] = [work for work in works if work.called < boss.dies]
        for work in works:
            if work.returned > boss.dies:
                work.returned = inf

    def _forward(self) -> dict[int, tuple[float, str]]:
        ends: dict[int, tuple[float, str]] = {}
        for place, step in enumerate(self.shape.steps):
            before = [ends[each] for each in step.after]
            if any(how in ("stuck", "failed", "never") for _, how in before):
                ends[place] = (inf, "never")
                continue
            waits = max((self.shape.steps[each].waits for each in step.after), default=0.0)
            ready = max((at for at, _ in before), default=0.0) + 0.9 * waits + self._gap(f"{step.name} {step.key}")
            ends[place] = self._attempts(place, "action", ready)
        return ends

    def _forgets_at(self, ends: dict[int, tuple[float, str]]) -> float:
        if self.fault.kind != "forgotten" or self.victim is None:
            return inf
        at, how = ends[self.victim[0]]
        return at if how in ("done", "failed", "skipped") else inf

    def _attempts(self, place: int, kind: str, at: float) -> tuple[float, str]:
        """Try until it is done, or given up; when its caller knew, and how."""
        step, most = self.shape.steps[place], self.max_attempts(place, kind)
        for number in count(1):
            work = self._call(place, kind, number, at)
            work.is_last_allowed = number >= most
            if work.returned == inf:
                return inf, "stuck"
            if not work.caller_error:
                return work.returned, "done"
            if work.is_last_allowed:
                return work.returned, "skipped" if step.is_optional and kind == "action" else "failed"
            pause = min(0.3 * 2**number, 4.0) if self.fault.kind != "retried_forever" else min(1.5 * 2**number, 20.0)
            work.retry_in = pause if self.shape.announces_retries else None
            forgets = self.fault.kind == "forgotten" and self.victim == (place, kind)
            if forgets and number >= step.max_attempts:
                return work.returned, "done"  # never retried: the process stops here
            at = work.returned + pause
        raise AssertionError

    def _call(self, place: int, kind: str, number: int, at: float) -> Work:
        step, boss, what = self.shape.steps[place], self.story.boss, f"{place} {kind} {number}"
        executor = self._executor(step.service, at, what)
        work = Work(step, kind, number, boss, executor, at, at + CALL_SECONDS)
        self.story.works.append(work)
        assert boss is not None
        if at >= boss.dies:
            return work
        behaviour = self._behaviour(place, kind, number)
        self.execute(work, behaviour, what)
        self._answer(work, behaviour)
        if behaviour == "twice":
            self.story.works.append(self.second_delivery(work))
        return work

    def _answer(self, work: Work, behaviour: str) -> None:
        work.returned, work.caller_error = work.ended + CALL_SECONDS, work.executor_error
        if behaviour in ("hang", "kill") and self.fault.is_answered and self.shape.style == "orchestrated":
            died = work.executor.dies if behaviour == "kill" else work.began + CALL_TIMEOUT_SECONDS
            work.returned, work.caller_error = died + CALL_SECONDS, RESET if behaviour == "kill" else TIMED_OUT
        elif behaviour == "late":
            work.returned, work.caller_error = work.called + CALL_TIMEOUT_SECONDS, TIMED_OUT
        elif behaviour == "unanswered":
            work.caller_error = RESET

    def _backward(self, story: Story, failed_at: float) -> Story:
        """Compensate what was done, the latest first; what is unknown too."""
        at = max(failed_at, self._last())
        if self.fault.kind == "not_compensated":
            return self._close(story, at, "failed") if self.fault.ends else self._stop(story, failed_at, at)
        outcome, compensated = "compensated", False
        for place in self._to_compensate():
            at, how = self._attempts(place, "compensation", at + self._gap(f"back {place}"))
            compensated = True
            if how == "stuck":
                return self._stop(story, failed_at)
            if how == "failed":
                outcome = "failed"
                if not self.fault.ends:
                    return self._stop(story, failed_at, at)
        return self._close(story, at, outcome if compensated else "failed")

    def _to_compensate(self) -> list[int]:
        ended: dict[int, float] = {}
        for work in self.story.works:
            is_doubtful = work.caller_error in (RESET, TIMED_OUT)
            if work.kind == "action" and (not work.caller_error or is_doubtful) and work.step.compensation:
                ended[self.shape.steps.index(work.step)] = work.returned
        return sorted(ended, key=lambda place: -ended[place])


class _TwoPhase(_Orchestrated):
    """A coordinator asks each participant to prepare, and then to commit."""

    def _victim(self) -> tuple[int, str] | None:
        kind = "commit" if self.fault.is_compensation else "prepare"
        return (self.fault.place, kind) if self.fault.kind in ("hang", "executor_killed") else None

    def _refused_place(self) -> int | None:
        return None

    def play(self) -> Story:
        story, at = self.story, self._gap("vote")
        votes = [self._call(place, "prepare", 1, at + 0.01 * place) for place in range(len(self.shape.steps))]
        for vote in votes:
            vote.effect = inf
        decided = max(vote.returned for vote in votes)
        if decided == inf:
            return self._stop(story, inf)
        if self.fault.kind == "undecided":
            return self._stop(story, inf, decided)
        at = decided + self._gap("decision")
        kinds = ["commit"] * len(votes)
        if self.fault.kind == "mixed":
            kinds[self.fault.place] = "rollback"
        ends = [self._call(place, kind, 1, at + 0.01 * place) for place, kind in enumerate(kinds)]
        for each in ends:
            each.effect = inf if each.kind == "rollback" else each.effect
        last = max(each.returned for each in ends)
        return self._stop(story, inf) if last == inf else self._close(story, last, "completed")


class _Choreography(_Player):
    """Each step's service receives a message from the one before."""

    def play(self) -> Story:
        story, at, cause = self.story, 0.0, None
        for place, step in enumerate(self.shape.steps):
            work = self._receive(place, "action", at, cause)
            if work.ended == inf:
                return story
            if work.executor_error:
                return self._backward(story, work)
            if self.fault.kind == "forgotten" and place == self.fault.place and place < len(self.shape.steps) - 1:
                story.stopped_at = work.ended
                return story
            at, cause = work.ended + 0.9 * step.waits + self._gap(f"to {place}"), work
        assert cause is not None
        return self._close(story, cause, "completed")

    def _receive(self, place: int, kind: str, at: float, cause: Work | None) -> Work:
        step, what = self.shape.steps[place], f"{place} {kind}"
        executor = self._executor(step.service, at, what)
        work = Work(step, kind, 1, None, executor, at, at, cause=cause, is_last_allowed=True)
        self.story.works.append(work)
        behaviour = self._behaviour(place, kind, 1)
        self.execute(work, "" if behaviour in ("late", "unanswered") else behaviour, what)
        if behaviour == "twice":
            self.story.works.append(self.second_delivery(work))
        return work

    def _backward(self, story: Story, failed: Work) -> Story:
        cause = failed
        done = [
            self.shape.steps.index(work.step) for work in story.works if work.effect < inf and work.step.compensation
        ]
        for place in reversed(list(dict.fromkeys(done))):
            cause = self._receive(place, "compensation", cause.ended + self._gap(f"back {place}"), cause)
            if cause.ended == inf:
                return story
            if cause.executor_error:
                return self._close(story, cause, "failed") if self.fault.ends else self._stopped(story, cause)
        return self._close(story, cause, "failed" if cause is failed else "compensated")

    def _stopped(self, story: Story, last: Work) -> Story:
        story.stopped_at, story.gives_up = last.ended, True
        return story

    def _close(self, story: Story, last: Work, outcome: str) -> Story:
        if self.fault.kind == "not_closed":
            story.stopped_at = last.ended
            return story
        last.outcome, story.outcome, story.ended = outcome, outcome, last.ended
        return story
