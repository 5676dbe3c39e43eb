"""The one line that a client, and with it its workers, need."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from sagascope.integrations.temporal import _activity, _client, _workflow
from sagascope.integrations.temporal._rules import Rule, Rules
from sagascope.integrations.temporal._telling import Describe, Telling


class SagascopePlugin(SimplePlugin):
    """Tells Sagascope of workflows and activities: ``Client.connect(..., plugins=[SagascopePlugin()])``.

    A worker takes it from its client; give it to the worker instead where the client is another's. It tells nothing
    before `sagascope.configure` or `install` is called.

    Args:
        undoes: Which activity undoes which: ``{"refund": "charge"}``, or a function that answers the step for the name
            of an activity, and None where it undoes nothing. Beside it counts what `compensates` says at an activity,
            the plan of a `sagascope.Saga` that is called as the workflow's type is, and a name like ``undo_charge``.
        describe: Called with a workflow's type and its arguments; answers amount, currency and keys. It runs outside
            the workflow's sandbox, and what it answers changes nothing in the workflow.
        elsewhere: Task queues whose workers do not have this plugin, for example because they are written in another
            language. What became of an activity there is told by the workflow that called for it, as one attempt.
    """

    def __init__(
        self, *, undoes: Rule | None = None, describe: Describe | None = None, elsewhere: Iterable[str] = ()
    ) -> None:
        self._rules = Rules(undoes)
        interceptor = _Interceptor(Telling(self._rules, describe, elsewhere))
        super().__init__("sagascope", interceptors=[interceptor], workflow_runner=_open_to_us)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Learn which of the worker's activities undo another."""
        self._rules.learn(config.get("activities") or ())
        return super().configure_worker(config)


class _Interceptor(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """What stands between Temporal and the user's code."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling

    def intercept_client(self, next: temporalio.client.OutboundInterceptor) -> temporalio.client.OutboundInterceptor:  # noqa: A002 - Temporal's name
        return _client.Outbound(next, self._telling)

    def intercept_activity(
        self,
        next: temporalio.worker.ActivityInboundInterceptor,  # noqa: A002
    ) -> temporalio.worker.ActivityInboundInterceptor:
        return _activity.Inbound(next, self._telling.rules)

    def workflow_interceptor_class(
        self,
        input: temporalio.worker.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        telling: Callable[[], Any] = lambda: self._telling  # noqa: E731 - a name in a mapping
        input.unsafe_extern_functions[_workflow.EXTERN] = telling
        return _workflow.Inbound


def _open_to_us(runner: WorkflowRunner | None) -> WorkflowRunner:
    """The runner; one with a sandbox does not import us anew for each run."""
    runner = runner or SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules("sagascope"))
