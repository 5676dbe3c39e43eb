"""Decides whether the failure rate of a saga type has left its baseline or returned to it. Pure.

The baseline is learned from the sagas of the last week, without those of earlier incidents. It gives the expected
number of failures among the latest sagas: a beta-binomial distribution, which is wide while the baseline is small.
If failure rates differ from hour to hour by more than chance, counts are reduced (Rao and Scott, A simple method for
the analysis of clustered binary data, Biometrics 1992).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sagascope_collector.incident_records import FailureRate, OutcomePeriod

MINUTE_SECONDS: Final = 60
HOUR_SECONDS: Final = 3_600

WINDOW_SECONDS: Final = (300, 3_600, 6 * 3_600)
"""Windows in seconds compared with the baseline: short ones find frequent failures, long ones rare failures."""

BASELINE_SECONDS: Final = 7 * 86_400
"""Age in seconds of the oldest sagas from which the baseline is learned."""

MINUTES_KEPT_SECONDS: Final = 86_400
"""Age in seconds at which minutes are added up to hours."""

IDLE_SECONDS: Final = 86_400
"""Seconds without a failure after which an incident is resolved, even if too few sagas have ended to show it."""

ACCEPTED_AFTER_SECONDS: Final = 86_400
"""Age in seconds from which an incident's sagas form the baseline of a type that has no other sagas."""

MIN_FAILED: Final = 5
"""Minimum number of failed sagas in an incident, so that two of three at night do not open one."""

MIN_RECOVERED: Final = 5
"""Minimum number of ended sagas for a return to the baseline."""

MIN_RATIO: Final = 2.0
MIN_RISE: Final = 0.1
"""Minimum factor, or else minimum difference, between a failure rate and its baseline."""

MAX_CHANCE: Final = 1e-6
"""Maximum probability that a departure is due to chance; a type is tested every few seconds."""

MIN_FIT: Final = 0.01
"""Minimum probability of the latest sagas, given the baseline, for a return to it."""

MAX_MISFIT: Final = 0.001
"""Maximum probability of the latest sagas, given those of the incident, for its end."""

PRIOR_FAILED: Final = 1.0
PRIOR_COMPLETED: Final = 9.0
"""The prior of a saga type: one of ten sagas fails. It has the weight of ten sagas."""

MIN_BASELINE_HOURS: Final = 10
"""Minimum number of hours with sagas for an estimate of dispersion."""

MAX_DISPERSION: Final = 5.0
"""Maximum factor by which counts are reduced, so that a type with occasional failures does not hide an outage."""

NEGLIGIBLE: Final = 1e-12
"""Relative size below which further terms of a sum are left out."""


@dataclass(frozen=True, slots=True)
class History:
    """The earlier incidents of a saga type. Times are in seconds since 1970."""

    open_since: int | None = None
    """The start of the open incident; None if there is none."""
    resolved_at: int = 0
    """The end of the last incident; earlier failures open no further incident."""
    baseline_from: int = 0
    """The start of the baseline: a person who resolves an incident accepts its failure rate as the new baseline."""
    excluded: Sequence[tuple[int, int]] = ()
    """The intervals of earlier incidents, which are excluded from the baseline."""


class Departure(NamedTuple):
    """A failure rate that has left its baseline."""

    since: int
    """The minute of the first failure, in seconds since 1970."""
    rate: FailureRate


class FailureBaseline(NamedTuple):
    """Parameters of a beta distribution, and the factor by which counts are reduced."""

    failed: float
    completed: float
    dispersion: float = 1.0
    is_learned: bool = True
    is_accepted: bool = False
    """Whether the baseline is learned from sagas of incidents because there are no others."""

    @property
    def share(self) -> float:
        """The expected failure rate."""
        return self.failed / (self.failed + self.completed)


def first_minute(now: int, open_since: Iterable[int] = ()) -> int:
    """Returns the time from which periods are minutes instead of hours; minutes cover all incidents of a day."""
    earliest = min((now - HOUR_SECONDS, *open_since))
    return max(earliest, now - MINUTES_KEPT_SECONDS) // HOUR_SECONDS * HOUR_SECONDS


def departure(
    periods: Sequence[OutcomePeriod],
    now: int,
    history: History,
    *,
    minutes_from: int,
    windows: Sequence[int] = WINDOW_SECONDS,
) -> Departure | None:
    """Returns the ongoing departure of a type's failure rate from its baseline; None if there is none.

    Args:
        periods: The counts in order of time. Sagas count at their end, however late their records arrived.
        now: The time in seconds since 1970.
        history: The earlier incidents of the type.
        minutes_from: The time from which periods are minutes; earlier periods are hours.
        windows: The lengths of the compared windows, in seconds.
    """
    periods = [each for each in periods if each.start <= now]
    if history.open_since is not None:
        return _ongoing(periods, now, history, history.open_since, minutes_from)
    for seconds in windows:
        start = max(now - seconds, history.resolved_at) // MINUTE_SECONDS * MINUTE_SECONDS
        window = [each for each in periods if each.start >= start]
        if _sum(window)[0] < MIN_FAILED or now - max(each.start for each in window if each.failed) > HOUR_SECONDS:
            continue  # sagas that ended long ago, for example in an imported archive, open no incident
        baseline = learn_baseline(periods, now, start, history, minutes_from)
        if _departs(window, baseline):
            since = next(each.start for each in window if each.failed)
            found = [each for each in window if each.start >= since]
            return None if _has_returned(found, baseline) else _departure(since, found, baseline)
    return None


def _ongoing(
    periods: Sequence[OutcomePeriod], now: int, history: History, since: int, minutes_from: int
) -> Departure | None:
    since = since // MINUTE_SECONDS * MINUTE_SECONDS
    baseline = learn_baseline(periods, now, since, history, minutes_from)
    found = [each for each in periods if _end(each, minutes_from) > since]
    last_failure = max((each.start for each in found if each.failed), default=since)
    if now - last_failure > IDLE_SECONDS or _has_returned(found, baseline):
        return None
    if baseline.is_accepted and not _departs(found, baseline):
        return None
    return _departure(since, found, baseline)


def _departure(since: int, found: Sequence[OutcomePeriod], baseline: FailureBaseline) -> Departure:
    failed, ended = _sum(found)
    half = next((n for n in range(len(found)) if 2 * _sum(found[: n + 1])[0] >= failed), 0)
    later_failed, later_ended = _sum(found[half:])
    rate = FailureRate(
        failed=failed,
        ended=ended,
        baseline=baseline.share if baseline.is_learned else None,
        is_total=later_failed == later_ended,
    )
    return Departure(since, rate)


def learn_baseline(
    periods: Sequence[OutcomePeriod], now: int, until: int, history: History, minutes_from: int
) -> FailureBaseline:
    """Returns the baseline of a type from the sagas that ended before `until`.

    If those are too few, sagas of incidents that ended at least `ACCEPTED_AFTER_SECONDS` ago also count.
    """
    first = max(now - BASELINE_SECONDS, history.baseline_from)

    def counts(each: OutcomePeriod) -> bool:
        end = _end(each, minutes_from)
        is_excluded = any(each.start <= over and end > begun for begun, over in history.excluded)
        return first < end <= until and each.ended > 0 and not is_excluded

    used = [each for each in periods if counts(each)]
    is_accepted = False
    if _sum(used)[1] < PRIOR_FAILED + PRIOR_COMPLETED:
        accepted_until = now - ACCEPTED_AFTER_SECONDS
        accepted = [each for each in periods if first < _end(each, minutes_from) <= accepted_until and each.ended]
        if is_accepted := _sum(accepted)[1] >= PRIOR_FAILED + PRIOR_COMPLETED:
            used = accepted
    failed, ended = _sum(used)
    dispersion = _dispersion(used, failed, ended)
    return FailureBaseline(
        PRIOR_FAILED + failed / dispersion,
        PRIOR_COMPLETED + (ended - failed) / dispersion,
        dispersion,
        is_learned=ended >= PRIOR_FAILED + PRIOR_COMPLETED,
        is_accepted=is_accepted,
    )


def _end(period: OutcomePeriod, minutes_from: int) -> int:
    return period.start + (MINUTE_SECONDS if period.start >= minutes_from else HOUR_SECONDS)


def _dispersion(periods: Iterable[OutcomePeriod], failed: int, ended: int) -> float:
    """Returns the dispersion of failure rates from hour to hour, relative to chance: Pearson's chi-squared."""
    hours: dict[int, tuple[int, int]] = {}
    for each in periods:
        hour = each.start // HOUR_SECONDS
        known = hours.get(hour, (0, 0))
        hours[hour] = known[0] + each.failed, known[1] + each.ended
    if len(hours) < MIN_BASELINE_HOURS or failed in (0, ended):
        return 1.0
    share = failed / ended
    chi_squared = sum((count - all_ * share) ** 2 / (all_ * share * (1 - share)) for count, all_ in hours.values())
    return min(MAX_DISPERSION, max(1.0, chi_squared / (len(hours) - 1)))


def _departs(window: Sequence[OutcomePeriod], baseline: FailureBaseline) -> bool:
    failed, ended = _sum(window)
    # running sagas count as successful: after a lull, sagas that fail end first
    trials = ended + sum(each.running for each in window)
    share = failed / trials
    is_larger = share >= MIN_RATIO * baseline.share or share >= baseline.share + MIN_RISE
    return is_larger and probability_of_more(failed, trials, baseline) <= MAX_CHANCE


def _has_returned(found: Sequence[OutcomePeriod], baseline: FailureBaseline) -> bool:
    """Whether the latest sagas, of any number, fit the baseline and no longer fit the incident."""
    all_failed, all_ended = _sum(found)
    failed = ended = 0
    for each in reversed(found):
        failed, ended = failed + each.failed, ended + each.ended
        before = all_ended - ended
        if not before:
            return False
        fits = ended >= MIN_RECOVERED and probability_of_more(failed, ended, baseline) > MIN_FIT
        if fits and _probability_of_fewer(failed, ended, all_failed - failed, before) < MAX_MISFIT:
            return True
    return False


def probability_of_more(failed: int, ended: int, baseline: FailureBaseline) -> float:
    """Returns the probability of at least this number of failures: the upper tail of the beta-binomial distribution.

    Returns 1.0 if no more sagas failed than expected.
    """
    trials, least = round(ended / baseline.dispersion), math.floor(failed / baseline.dispersion)
    if least <= trials * baseline.share:
        return 1.0
    a, b = baseline.failed, baseline.completed
    logarithm = (
        math.lgamma(trials + 1) - math.lgamma(least + 1) - math.lgamma(trials - least + 1)
        + _log_beta(least + a, trials - least + b)
        - _log_beta(a, b)
    )  # fmt: skip
    total, term = 0.0, math.exp(logarithm)
    for count in range(least, trials + 1):
        total += term
        if count == trials or term <= total * NEGLIGIBLE:
            break
        term *= (trials - count) * (count + a) / ((count + 1) * (trials - count - 1 + b))
    return min(1.0, total)


def _probability_of_fewer(failed: int, ended: int, failed_before: int, ended_before: int) -> float:
    """Returns the probability of at most this number of failures, given earlier sagas: that of as many completions."""
    completed_before = ended_before - failed_before
    of_completions = FailureBaseline(failed=0.5 + completed_before, completed=0.5 + failed_before)
    return probability_of_more(ended - failed, ended, of_completions)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _sum(periods: Iterable[OutcomePeriod]) -> tuple[int, int]:
    """Returns the numbers of failed and of ended sagas."""
    failed = ended = 0
    for each in periods:
        failed, ended = failed + each.failed, ended + each.ended
    return failed, ended
