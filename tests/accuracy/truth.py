"""What is right to say of a story, and from when: derived from what happened, and from which records tell of it.

Written after CONTRACT (section 4), without the product's code.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from accuracy.shapes import Step
from accuracy.telemetry import HORIZON_SECONDS, Telemetry
from accuracy.world import RESET, TIMED_OUT, Process, Story, Work

IN_TRANSIT_SECONDS = 1.0
"""Seconds that a record may be under way before anything counts as missing."""

REPORTED_SECONDS = 1.5
"""Seconds in which what goes on is seen to go on."""

MISSED_INTERVALS = 3
FAILURES_IN_A_ROW = 3
PRECEDENCE = (
    "applied_twice", "compensation_failed", "uncompensated", "mixed_outcome", "in_doubt", "blocked", "instance_lost",
    "retrying", "hung", "next_step_missing", "never_closed",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Something that is right to say."""

    codes: frozenset[str]
    steps: frozenset[str]
    earliest: float
    """Before it nothing is known of it."""
    latest: float
    """From then on it can be known; with two seconds more it has to be said."""
    fact: float
    """When it happened."""
    until: float = inf
    """When it ceases to hold."""
    is_required: bool = True

    @property
    def rank(self) -> int:
        return min(PRECEDENCE.index(code) for code in self.codes)


def claims(story: Story, assembled: Telemetry) -> list[Claim]:
    """Everything that is right to say of a story, as complete telemetry tells it."""
    return list(_Truth(story, assembled).claims())


def is_loss_evident(story: Story, assembled: Telemetry, at: float) -> bool:
    """Whether what had come by a moment shows that something else did not, so that no absence proves anything.

    A parent of a span, an attempt between two others, a step that an observed one waits for, or the end of an open span
    that its process no longer lists.
    """
    came = [each for each in assembled.sent if min(each.announced, each.finished) <= at]
    works = [each.work for each in came if each.work is not None]
    ids = {each.span.span_id for each in came}
    orphans = [each for each in came if each.span.parent_id and each.span.parent_id not in ids]
    if any(each is not min(came, key=lambda other: other.start) for each in orphans):
        return True
    numbers: dict[tuple[str, str, str], set[int]] = {}
    for work in works:
        numbers.setdefault((work.name, work.step.key, work.kind), set()).add(work.number)
    if any(max(each) - min(each) >= len(each) for each in numbers.values()):
        return True
    is_planned = story.shape.plan == "learned" or any(each.work is None for each in came)
    if is_planned and story.shape.plan != "none" and _is_predecessor_missing(story, works):
        return True
    return any(assembled.is_given_up(each, at) for each in came)


def _is_predecessor_missing(story: Story, works: list[Work]) -> bool:
    seen = {work.step.name for work in works if work.is_forward}
    needed = {story.shape.steps[place].name for work in works if work.is_forward for place in work.step.after}
    optional = {step.name for step in story.shape.steps if step.is_optional}
    return bool(needed - seen - optional)


def _over(work: Work) -> float:
    """When it was over; where one of caller and executor could not note that, for the other."""
    return next((at for at in (work.over, work.ended, work.returned) if at < inf), work.called)


class _Truth:
    def __init__(self, story: Story, assembled: Telemetry) -> None:
        self.story, self.shape, self.assembled, self.works = story, story.shape, assembled, story.works
        self.root = assembled.of(None) if story.boss is not None else None
        self.is_ended = self._is_end_seen()

    def claims(self) -> Iterator[Claim]:
        yield from self._twice()
        yield from self._mixed()
        yield from self._compensation_failed()
        yield from self._retrying()
        yield from self._lost_on_the_way()
        if self.is_ended:
            yield from self._uncompensated(self.story.ended, self._end_came() + IN_TRANSIT_SECONDS)
            return
        yield from self._in_doubt()
        in_flight_attempt = [
            work for work in self.works if self.state(work) == "in_flight" and not self._is_followed(work)
        ]
        if in_flight_attempt:
            yield from self._in_flight(in_flight_attempt)
        elif self.story.boss is not None and self.story.boss.dies < inf:
            yield from self._boss_lost()
        else:
            yield from self._stopped()

    # what the records tell

    def state(self, work: Work) -> str:
        """``ok``, ``error``, ``unknown``, ``in_flight`` or ``unseen``, once everything has come."""
        ran, called = self.assembled.of(work), self.assembled.of(work, is_caller=True)
        if ran is not None and ran.finished < inf:
            return "error" if work.executor_error else "ok"
        if ran is not None and ran.announced < inf:
            is_given_up = called is None and self.assembled.is_given_up(ran, HORIZON_SECONDS)
            return "unknown" if is_given_up else "in_flight"
        if called is not None and called.finished < inf:
            doubtful = work.caller_error in (RESET, TIMED_OUT)
            return "unknown" if doubtful else "error" if work.caller_error else "ok"
        return "in_flight" if called is not None and called.announced < inf else "unseen"

    def came(self, work: Work) -> float:
        """When the last record of some work that can come has come."""
        found = [self.assembled.of(work), self.assembled.of(work, is_caller=True)]
        moments = [at for each in found if each is not None for at in (each.announced, each.finished) if at < inf]
        return max(moments, default=0.0)

    def _is_end_seen(self) -> bool:
        return self.story.ended < inf and self._end_came() < inf

    def _end_came(self) -> float:
        if self.root is not None:
            return self.root.finished
        closing = [self.assembled.of(work) for work in self.works if work.outcome]
        return min((each.finished for each in closing if each is not None), default=inf)

    def _is_followed(self, work: Work) -> bool:
        """Whether the saga has gone on without it."""
        given_up = work.returned if work.caller is not None else work.ended
        return any(
            other.called > max(work.called, min(given_up, inf)) and self.state(other) != "unseen"
            for other in self.works
        ) or any(
            other.step is work.step and other.kind == work.kind and other.number > work.number for other in self.works
        )

    def _is_plan_known(self) -> bool:
        if self.shape.plan == "declared":
            return self.root is not None and (self.root.announced < inf or self.root.finished < inf)
        return self.shape.plan == "learned"

    def _last_over(self) -> float:
        seen = [_over(work) for work in self.works if self.state(work) in ("ok", "error", "unknown")]
        return max(seen, default=0.0)

    def _ok(self, step: Step, kinds: tuple[str, ...]) -> list[Work]:
        return [work for work in self.works if work.step is step and work.kind in kinds and self.state(work) == "ok"]

    # what stays wrong

    def _twice(self) -> Iterator[Claim]:
        if self.shape.has_keys:
            return
        for step in self.shape.steps:
            done, compensations = self._ok(step, ("action", "commit")), self._ok(step, ("compensation",))
            for works, others in ((done, compensations), (compensations, done)):
                ordered = sorted(works, key=lambda work: work.effect)
                for first, second in itertools.pairwise(ordered):
                    between = [each for each in others if first.effect - 0.6 < each.effect < second.effect + 0.6]
                    latest = max(self.came(first), self.came(second))
                    name = frozenset({second.name})
                    yield Claim(
                        frozenset({"applied_twice"}),
                        name,
                        second.effect,
                        latest,
                        second.effect,
                        is_required=not between,
                    )
            for late in done:
                if any(each.effect < late.effect for each in compensations):
                    codes = frozenset({"applied_twice"})
                    yield Claim(
                        codes, frozenset({step.name}), late.effect, self.came(late), late.effect, is_required=False
                    )

    def _mixed(self) -> Iterator[Claim]:
        kinds = {work.kind for work in self.works if self.state(work) == "ok"}
        if {"commit", "rollback"} <= kinds:
            done = [work for work in self.works if work.kind in ("commit", "rollback") and self.state(work) == "ok"]
            names = frozenset(work.name for work in done)
            first = min(max(each.ended for each in done if each.kind == kind) for kind in ("commit", "rollback"))
            yield Claim(frozenset({"mixed_outcome"}), names, 0.0, max(self.came(work) for work in done), first)

    def _compensation_failed(self) -> Iterator[Claim]:
        for step in self.shape.steps:
            tried = [work for work in self.works if work.step is step and work.kind == "compensation"]
            if not tried or self.state(tried[-1]) != "error" or any(self.state(each) == "ok" for each in tried):
                continue
            if not tried[-1].is_last_allowed or not self._ok(step, ("action",)):
                continue
            if any(self.state(each) != "error" for each in tried):
                continue  # whether one of them took effect is unknown
            over, codes, steps = tried[-1].over, frozenset({"compensation_failed"}), frozenset({tried[-1].name})
            if self.shape.announces_max_attempts and tried[-1].caller is not None:
                yield Claim(codes, steps, min(tried[-1].ended, over), self._all_came(tried), over)
            elif self.is_ended:
                yield Claim(codes, steps, over, self._end_came() + IN_TRANSIT_SECONDS, over)

    def _all_came(self, works: list[Work]) -> float:
        return max(self.came(work) for work in works)

    def _uncompensated(self, earliest: float, latest: float, fact: float | None = None) -> Iterator[Claim]:
        if self.story.outcome == "completed":
            return
        left: list[tuple[float, Work]] = []
        for step in self.shape.steps:
            tried = [work for work in self.works if work.step is step and work.kind == "compensation"]
            states = {self.state(work) for work in tried}
            does = [work for work in self.works if work.step is step and work.kind == "action"]
            open_ = [work for work in does if self.state(work) in ("ok", "unknown", "in_flight")]
            is_known = bool(tried and states != {"unseen"}) or (self._is_plan_known() and step.compensation)
            if not open_ or "ok" in states or not is_known:
                continue
            if states == {"error"} and self._ok(step, ("action",)):
                continue  # its compensation failed: another code
            left.append((max(min(work.over, work.called + 60) for work in open_), open_[-1]))
        if left:
            last = max(at for at, _ in left)
            steps = frozenset(work.name for at, work in left if at >= last - 0.5 or self.state(work) != "ok")
            yield Claim(frozenset({"uncompensated"}), steps, earliest, latest, earliest if fact is None else fact)

    # what stops an open saga

    def _retrying(self) -> Iterator[Claim]:
        series: dict[tuple[str, str, str], list[Work]] = {}
        for work in self.works:
            if not work.is_redelivery:
                series.setdefault((work.name, work.step.key, work.kind), []).append(work)
        for works in series.values():
            row = [work for work in works if self.state(work) in ("error", "unknown")]
            if len(row) < FAILURES_IN_A_ROW:
                continue
            third, ends = row[FAILURES_IN_A_ROW - 1], row[-1]
            is_over = works[-1] not in row or works[-1].is_last_allowed or self.is_ended
            until = (works[-1].over if works[-1].over < inf else works[-1].called) + 2.0
            if works[-1].over == inf:
                # As far as can be known, an attempt is in progress until its process is known to be lost.
                until = max(until, self._lost_at(works[-1].caller or works[-1].executor) or 0.0)
            if self.shape.announces_max_attempts and third.is_last_allowed and third.caller is not None:
                continue
            if not is_over or not self.shape.announces_max_attempts:
                pauses = [later.called - earlier.over for earlier, later in itertools.pairwise(row)]
                allowed = self.shape.allowed_for_attempt(ends.step, is_compensation=not ends.is_forward)
                allowed = max(allowed, 30.0 if self.root is None or not self._is_plan_known() else 0.0)
                allowed += 2 * max(pauses, default=0.0) + IN_TRANSIT_SECONDS + REPORTED_SECONDS
                wait = self._wait(ends) or 0.0
                until = max(self._joined(ends, _over(ends)) + allowed, wait + REPORTED_SECONDS)
                until = inf if self.is_ended else until
            if self.is_ended:
                until = min(until, self._end_came() + 2.0)
            steps, codes = frozenset({third.name}), frozenset({"retrying"})
            earliest = sorted(work.called for work in row)[FAILURES_IN_A_ROW - 1]
            is_required = self.story.fault.kind == "retried_forever"
            latest = max(self.came(work) for work in row[:FAILURES_IN_A_ROW])
            end = works[-1].called if is_required else until
            yield Claim(codes, steps, earliest, latest, third.over, end, is_required)
            if is_required:
                yield Claim(codes, steps, earliest, latest, third.over, until, is_required=False)

    def _lost_on_the_way(self) -> Iterator[Claim]:
        """An attempt whose process was lost, until the saga is seen to go on."""
        for place, work in enumerate(self.works):
            shown = self.assembled.of(work)
            if shown is None or work.executor.dies == inf or self.state(work) != "in_flight":
                continue
            later = [self.came(other) for other in self.works[place + 1 :] if self._is_behind(other, work)]
            until = min([self._end_came(), *(at for at in later if at)], default=inf) + REPORTED_SECONDS
            if self.story.ended == inf and not self._is_plan_known():
                until = inf  # no plan tells that the next step started with its answer
            silent = self._lost_at(work.executor) or work.executor.dies
            codes = frozenset({"instance_lost", "hung"})
            yield Claim(
                codes,
                frozenset({work.name}),
                min(silent, work.executor.dies + 15) - 0.3,
                inf,
                silent,
                until,
                is_required=False,
            )

    def _joined(self, failed: Work, over: float) -> float:
        """When the saga may have gone on after a failure: it waits for parallel steps, unless it announced a retry."""
        ends = [other.over for other in self.works if other.called < over < other.over < inf]
        return over if failed.retry_in is not None else max([over, *ends])

    def _is_behind(self, later: Work, work: Work) -> bool:
        """Whether that it was called shows that some work was answered: not so in parallel, nor for items of a loop."""
        if later.step is work.step:
            return True
        return later.step.name != work.step.name and later.called >= min(work.returned, work.ended)

    def _in_doubt(self) -> Iterator[Claim]:
        votes = [work for work in self.works if work.kind == "prepare"]
        prepared = [vote for vote in votes if self.state(vote) == "ok"]
        decided = [work for work in self.works if work.kind in ("commit", "rollback") and self.state(work) != "unseen"]
        prepared = [vote for vote in prepared if not any(work.step is vote.step for work in decided)]
        if not prepared:
            return
        over = max(vote.over if vote.over < inf else vote.ended for vote in prepared)
        late = [
            vote.called + self.shape.allowed_for_attempt(vote.step) for vote in votes if self.state(vote) == "in_flight"
        ]
        allowed = [self.shape.allowed(vote.step) for vote in prepared]
        names, start = frozenset(vote.name for vote in prepared), max([over, *late])
        earliest = max([min(vote.ended for vote in prepared) + min(allowed), *late]) + IN_TRANSIT_SECONDS
        latest = (
            max(over + max(allowed), *late, start) + IN_TRANSIT_SECONDS
            if late
            else over + max(allowed) + IN_TRANSIT_SECONDS
        )
        yield Claim(frozenset({"in_doubt"}), names, earliest, latest, over, is_required=not decided)

    def _in_flight(self, in_flight_attempt: list[Work]) -> Iterator[Claim]:
        for work in in_flight_attempt:
            ran, called = self.assembled.of(work), self.assembled.of(work, is_caller=True)
            shown = ran if ran is not None and ran.announced < inf else called
            assert shown is not None
            names, is_back = frozenset({work.name}), not work.is_forward
            allowed = self.shape.allowed_for_attempt(work.step, is_compensation=is_back)
            if not self._is_plan_known() and work.step.attempt_timeout is None:
                allowed = 30.0
            deadline = shown.start + allowed + IN_TRANSIT_SECONDS
            wait = self._wait(work)
            deadline = max(deadline, wait) if wait else deadline
            silent = self._lost_at(shown.process)
            if silent is not None:
                latest = max(silent, shown.announced)
                yield Claim(frozenset({"instance_lost"}), names, min(silent, latest) - 0.3, latest, shown.process.dies)
                yield Claim(frozenset({"hung"}), names, deadline - allowed, deadline, shown.start, is_required=False)
            else:
                codes = frozenset(
                    {"hung"} if shown is called or work.executor.dies == inf else {"hung", "instance_lost"}
                )
                yield Claim(
                    codes,
                    names,
                    deadline - 0.3,
                    max(deadline, shown.announced),
                    shown.start + allowed,
                    is_required=(len(in_flight_attempt) == 1 or work is in_flight_attempt[0])
                    and not self.assembled.is_overdue(shown.process, deadline),
                )
        yield from self._after_giving_up(is_required=False)

    def _wait(self, work: Work) -> float | None:
        waits = [each for each in self.works if each.step.waits and each.kind == "action"]
        return max(
            (
                each.called + 1.5 * each.step.waits + 60 + IN_TRANSIT_SECONDS
                for each in waits
                if each.called >= work.called - 0.01
            ),
            default=None,
        )

    def _lost_at(self, process: Process) -> float | None:
        sign = self.assembled.last_sign(process)
        if sign is None:
            return None
        at, interval, is_final = sign
        return process.dies + 0.3 if is_final else at + MISSED_INTERVALS * interval

    def _boss_lost(self) -> Iterator[Claim]:
        boss = self.story.boss
        assert boss is not None
        silent, steps = self._lost_at(boss), self._awaited()
        over = self._last_over()
        if silent is None or self.root is None or self.root.announced == inf:
            codes = frozenset(
                {
                    "next_step_missing",
                    "never_closed",
                    "instance_lost",
                    "uncompensated",
                    "compensation_failed",
                    "hung",
                    "retrying",
                }
            )
            done = frozenset(work.step.name for work in self.works if work.step.compensation)
            yield Claim(codes, steps | done, boss.dies, inf, boss.dies, is_required=False)
            return
        latest = max(silent, over + IN_TRANSIT_SECONDS, self.root.announced)
        yield Claim(frozenset({"instance_lost"}), steps, min(silent, latest) - 0.3, latest, boss.dies)
        others = frozenset({"next_step_missing", "never_closed", "uncompensated", "compensation_failed"})
        done = frozenset(work.step.name for work in self.works if work.step.compensation)
        at_the_end = frozenset(work.name for work in self.works if _over(work) > boss.dies - REPORTED_SECONDS)
        lost = frozenset({"instance_lost"})
        seen = max([boss.dies + REPORTED_SECONDS, *(self.came(work) for work in self.works if work.name in at_the_end)])
        yield Claim(lost, at_the_end, boss.dies, inf, boss.dies, seen + REPORTED_SECONDS, is_required=False)
        yield Claim(others, steps | done, over + 5.0, inf, boss.dies, is_required=False)

    def _awaited(self) -> frozenset[str]:
        """Names of the steps that may be called the current one once nothing is in flight."""
        failing = [
            work for work in self.works if self.state(work) in ("error", "unknown") and not self._is_followed(work)
        ]
        if failing:
            return frozenset(work.name for work in failing) | self._to_compensate()
        if any(not work.is_forward for work in self.works):
            return self._to_compensate() | {self.works[-1].name}
        return self._next() | self._last_done()

    def _last_done(self) -> frozenset[str]:
        seen = [work for work in self.works if self.state(work) != "unseen"]
        required = {step.name for step in self.shape.steps if not step.is_optional}
        if self._is_plan_known() and self._next() & required:
            return frozenset()
        return frozenset(work.name for work in seen) or frozenset({""})

    def _to_compensate(self) -> frozenset[str]:
        done = [work.step for work in self.works if work.kind == "compensation" and self.state(work) == "ok"]
        return frozenset(
            work.step.compensation
            for work in self.works
            if work.kind == "action"
            and work.step.compensation
            and work.step not in done
            and self.state(work) != "error"
        )

    def _next(self) -> frozenset[str]:
        """Names of the steps that could start now; those behind optional ones too."""
        kinds = ("commit",) if self.shape.style == "two_phase" else ("action",)
        done = {work.step.name for work in self.works if work.kind in kinds and self.state(work) == "ok"}
        started = {work.step.name for work in self.works if self.state(work) != "unseen"}
        found: set[str] = set()
        passed = set(done)
        for step in self.shape.steps:
            needs = {self.shape.steps[place].name for place in step.after} - {step.name}
            if step.name not in done and needs <= passed:
                found.add(step.name)
                if step.is_optional:
                    passed.add(step.name)
        del started
        return frozenset(found)

    def _stopped(self) -> Iterator[Claim]:
        """The saga makes no progress, although nothing is in flight and its process works."""
        if self.story.stopped_at == inf and not any(self.state(work) == "unseen" for work in self.works):
            return
        if self.shape.style == "two_phase":
            codes = frozenset({"next_step_missing", "never_closed"})
            yield Claim(codes, self._awaited(), self._last_over() + 5, inf, self._last_over(), is_required=False)
            return
        failing = [
            work for work in self.works if self.state(work) in ("error", "unknown") and not self._is_followed(work)
        ]
        if failing:
            yield from self._after_giving_up(is_required=True)
            return
        if not self._is_plan_known():
            return
        if any(not work.is_forward and self.state(work) != "unseen" for work in self.works):
            yield self._next_compensation()
            return
        over, names = self._last_over(), self._next()
        required = [step for step in self.shape.steps if step.name in names and not step.is_optional]
        unseen = [work for work in self.works if self.state(work) == "unseen"]
        allowed = [self.shape.allowed(step) for step in self.shape.steps if step.name in names]
        allowed += [] if required else [self.shape.allowed(None)]
        waits = [self._wait(work) for work in self.works if work.over >= over - 0.01]
        wait = max((at for at in waits if at), default=None)
        latest = wait or over + max(allowed) + IN_TRANSIT_SECONDS
        earliest = (wait or over + min(allowed) + IN_TRANSIT_SECONDS) - 0.3
        codes = frozenset({"next_step_missing"} if required else {"never_closed"})
        if unseen:
            codes, names = (
                frozenset({"next_step_missing", "never_closed"}),
                names | {work.name for work in unseen} | self._to_compensate(),
            )
        if not required:
            names |= {work.name for work in self.works}
        is_partial_loop = any(step.key for step in self.shape.steps) and not required
        is_required = bool(required or (self._is_all_done() and not is_partial_loop)) and not unseen
        yield Claim(
            codes, names, min(earliest, over + 5.0) if unseen else earliest, latest, over, is_required=is_required
        )

    def _next_compensation(self) -> Claim:
        """What should come after a compensation that succeeded."""
        over, left = self._last_over(), self._to_compensate()
        names = left or frozenset(work.name for work in self.works)
        at = over + self.shape.allowed_for_attempt(self.works[-1].step, is_compensation=True) + IN_TRANSIT_SECONDS
        return Claim(frozenset({"next_step_missing" if left else "never_closed"}), names, at - 0.3, at, over)

    def _is_all_done(self) -> bool:
        done = {work.step.name for work in self.works if self.state(work) == "ok"}
        return all(step.name in done or step.is_optional for step in self.shape.steps)

    def _is_compensated_unseen(self) -> bool:
        """Whether the next compensation is seen at its end only."""
        done = [work for work in self.works if work.kind == "action" and work.step.compensation and work.effect < inf]
        latest = max(done, key=lambda work: work.effect, default=None)
        return latest is not None and self.shape.views == "executor" and latest.step.service in self.shape.plain

    def _after_giving_up(self, *, is_required: bool) -> Iterator[Claim]:
        """A step failed, and nothing followed."""
        failing = [
            work
            for work in self.works
            if self.state(work) in ("error", "unknown", "in_flight") and not self._is_followed(work)
        ]
        if not failing or (not any(self.state(work) in ("error", "unknown") for work in failing) and is_required):
            return
        last = failing[-1]
        over = _over(last)
        allowed = self.shape.allowed_for_attempt(last.step, is_compensation=not last.is_forward)
        if not self._is_plan_known() and last.step.attempt_timeout is None:
            allowed = 30.0
        is_final = last.is_last_allowed and self.shape.announces_max_attempts and last.caller is not None
        if is_final and last.is_forward and self._is_compensated_unseen():
            allowed = max(allowed, self.shape.allowed_for_attempt(last.step, is_compensation=True))
        at = self._joined(last, over) + (last.retry_in or 0.0) + allowed + IN_TRANSIT_SECONDS
        names = frozenset({last.name}) | (self._to_compensate() if is_final else frozenset())
        is_expected = self._is_plan_known() or last.retry_in is not None
        if is_final and last.is_forward:
            found = list(self._uncompensated(at - 0.3, max(at, self._wait(last) or 0.0), over))
            yield from found if is_required else ()
            is_required &= not found and is_expected
        wait = self._wait(last)
        latest = max(at, wait or 0.0)
        row = [
            work
            for work in self.works
            if work.step is last.step and work.kind == last.kind and self.state(work) in ("error", "unknown")
        ]
        pauses = [later.called - earlier.over for earlier, later in itertools.pairwise(row)]
        if len(row) >= FAILURES_IN_A_ROW and last.retry_in is None:
            latest, is_expected = latest + 2 * max(pauses), True
        is_failed_compensation = is_final and not last.is_forward
        is_either = not is_required or is_failed_compensation
        names |= {last.step.name} if is_failed_compensation else set()
        codes = frozenset({"next_step_missing", "uncompensated"} if is_either else {"next_step_missing"})
        yield Claim(
            codes, names, at - 0.3 if is_required else at - allowed, latest, over,
            is_required=is_required and is_expected and not is_failed_compensation,
        )  # fmt: skip
