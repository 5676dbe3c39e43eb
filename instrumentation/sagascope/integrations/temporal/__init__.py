"""Temporal: every workflow is a saga, every activity a step of it, with all its attempts.

    client = await Client.connect("127.0.0.1:7233", plugins=[SagascopePlugin()])

Workers use the plugin of their client. A replay reports nothing, and workflow code is not affected.
"""

from sagascope._errors import MissingExtra

try:
    from sagascope.integrations.temporal._plugin import SagascopePlugin
    from sagascope.integrations.temporal._reporting import WorkflowDescription, compensates
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "temporalio":
        raise
    raise MissingExtra("The Temporal integration", "temporal") from _missing

__all__ = ["SagascopePlugin", "WorkflowDescription", "compensates"]
