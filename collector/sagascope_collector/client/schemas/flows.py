"""Statistics of saga types."""

from sagascope_collector.client.schemas.base import Time, Wire


class Flow(Wire):
    """The number of sagas of one type by status, and of those that need attention."""

    name: str
    environment: str
    running: int
    completed: int
    compensated: int
    failed: int
    attention: int


class Flows(Wire):
    """All saga types."""

    items: list[Flow]


class FlowPeriod(Wire):
    """Outcomes of the attempts of one step that started within one part of the window. `at` is the start of the part.

    Percentiles are as in `FlowStep`.
    """

    at: Time
    succeeded: int
    failed: int
    p50: float | None
    p95: float | None
    p99: float | None


class FlowStep(Wire):
    """Outcomes of the attempts of one step that started within the window.

    `started` counts ended attempts, and sagas whose current step it is; `retried` counts attempts after the first;
    `compensated` counts successful compensations. Percentiles are durations of successful attempts in seconds, with an
    error of at most 4.5 %. `series` divides the window into about twenty parts; parts in which nothing ended are
    omitted.
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
    """The time from the end of a successful step to the start of the next; figures are as in `FlowStep`."""

    before: str
    after: str
    number: int
    p50: float | None
    p95: float | None
    p99: float | None
    series: list[FlowPeriod]


class FlowPath(Wire):
    """A path that sagas of one type took, from those that started within the window and ended.

    `missing` are steps that only the usual path has, `added` steps that only this path has. `is_reordered` is true if
    the steps of both started in another order. `newest` is the id of the latest started saga with this path.
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
    """The steps of one saga type in their usual order, the transitions between them, and the paths of its sagas.

    `period` is the length of a part of the window in seconds. The usual path, the most frequent among completed sagas,
    comes first; the others follow by descending frequency.
    """

    name: str
    period: int
    steps: list[FlowStep]
    hand_overs: list[HandOver]
    paths: list[FlowPath]
