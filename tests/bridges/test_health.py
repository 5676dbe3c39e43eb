"""What a bridge reports of itself while its source fails, recovers and is read."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sagascope_collector.bridges import Bridge, CheckpointFile, Health, PollResult, Telemetry
from sagascope_collector.errors import SourceUnavailable


class Checkpoint(BaseModel):
    """Nothing to remember."""


class Source:
    """Is unavailable in the first poll, behind in the second and read to its end in the third."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self.seen: list[tuple[str, bool]] = []
        self.bridge: Any = None

    def poll(self, checkpoint: Checkpoint, now: int) -> PollResult[Checkpoint]:
        self.seen.append((self._health.error, self._health.has_caught_up))
        if len(self.seen) == 1:
            raise SourceUnavailable("The database does not respond.")
        if len(self.seen) == 4:
            self.bridge.stop()
        return PollResult(Telemetry(), checkpoint, 0, is_behind=len(self.seen) == 2)


class Sender:
    """Has nothing to send."""

    def stop(self) -> None:
        """Does nothing."""


def test_an_error_is_over_when_the_source_responds_although_it_is_not_read_to_its_end(tmp_path: Path) -> None:
    health = Health()
    source, sender = Source(health), Sender()
    checkpoints = CheckpointFile(tmp_path / "checkpoint", Checkpoint)
    source.bridge = Bridge(source, sender, checkpoints, health, interval_seconds=0.01)  # type: ignore[arg-type]
    source.bridge.run(nullcontext())
    assert source.seen == [("", False), ("The database does not respond.", False), ("", False), ("", True)]
