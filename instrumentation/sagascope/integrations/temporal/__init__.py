"""Temporal: every workflow is a saga, every activity a step of it, with all its attempts.

    client = await Client.connect("127.0.0.1:7233", plugins=[SagascopePlugin()])

A worker takes the plugin from its client. A replay adds nothing, and a workflow sees nothing of it.
"""

from sagascope.errors import MissingExtra

try:
    from sagascope.integrations.temporal._plugin import SagascopePlugin
    from sagascope.integrations.temporal._rules import compensates
    from sagascope.integrations.temporal._telling import About
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "temporalio":
        raise
    raise MissingExtra("The integration of Temporal", "temporal") from _missing

__all__ = ["About", "SagascopePlugin", "compensates"]
