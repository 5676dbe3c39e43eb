"""Statistics of saga types."""

from sagascope_collector.client.schemas.base import Time, Wire


class Flow(Wire):
    """How many sagas of one type there are, by status, and how many need attention."""

    name: str
    environment: str
    running: int
    completed: int
    compensated: int
    failed: int
    attention: int


class Flows(Wire):
    """Every saga type seen."""

    items: list[Flow]


class FlowPeriod(Wire):
    """What became of the attempts of one step that began within a part of the window, which begins at `at`.

    Percentiles are as those of the whole.
    """

    at: Time
    succeeded: int
    failed: int
    p50: float | None
    p95: float | None
    p99: float | None


class FlowStep(Wire):
    """What became of the attempts of one step that began within the window.

    `started` counts those that ended, and sagas whose current step it is; `retried` attempts after the first;
    `compensated` successes of its compensation. Percentiles are seconds, of attempts that succeeded, right to 4.5 %.
    `series` has some twenty parts of the window, without those in which nothing ended.
    """

    step: str
    type: str
    started: int
    succeeded: int
    failed: int
    retried: int
    compensated: int
    in_flight: int
    p50: float | None
    p95: float | None
    p99: float | None
    series: list[FlowPeriod]


class HandOver(Wire):
    """The time from the end of a step that succeeded to the beginning of the next; figures as in `FlowStep`."""

    before: str
    after: str
    number: int
    p50: float | None
    p95: float | None
    p99: float | None
    series: list[FlowPeriod]


class FlowPath(Wire):
    """A path of sagas of one type, of those that started within the window and ended.

    `missing` are steps that only the usual path has, `added` steps that only this one has. Steps of
    both started in another order if `is_reordered`. `newest` is the id of the saga of it that started last.
    """

    steps: list[str]
    sagas: int
    completed: int
    is_usual: bool
    missing: list[str]
    added: list[str]
    is_reordered: bool
    newest: str
    environment: str


class FlowInFull(Wire):
    """The steps of one saga type, in their usual order, the time between them, and the paths of its sagas.

    `period` is the length of a part of the window, in seconds. The usual path, the most frequent of those that
    completed, comes first, then the others, the most frequent first.
    """

    name: str
    period: int
    steps: list[FlowStep]
    hand_overs: list[HandOver]
    paths: list[FlowPath]
