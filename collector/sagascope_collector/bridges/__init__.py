"""What follows systems that do not speak of sagas themselves, and tells a collector what they know.

A bridge is a process beside the collector. It asks an engine or a database what has changed, tells it as OTLP, and
keeps how far it has come in a file of its own. What it tells twice, the collector stores once.
"""

from sagascope_collector.bridges.cursor import Cursor
from sagascope_collector.bridges.pulse import Pulse
from sagascope_collector.bridges.running import Bridge, Harvest, Source
from sagascope_collector.bridges.telling import Facts, LogRecord, Resource, Span

__all__ = [
    "Bridge",
    "Cursor",
    "Facts",
    "Harvest",
    "LogRecord",
    "Pulse",
    "Resource",
    "Source",
    "Span",
]
