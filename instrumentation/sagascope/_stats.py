"""What can be asked about the telemetry itself."""

from typing import NamedTuple


class Stats(NamedTuple):
    """What became of the saga telemetry of this process so far."""

    sent: int = 0
    """Ended spans and log records that the collector has taken."""
    waiting: int = 0
    """Ended spans and log records that are queued in memory."""
    spooled: int = 0
    """Records that this process has put on disk, and that are still there."""
    dropped: int = 0
    """Records that could not be sent and never will be; also said in every heartbeat."""
    open_spans: int = 0
    """Saga spans that are open now."""
    last_error: str = ""
    """Why something was not sent, the last time; ``""`` if that never happened."""
