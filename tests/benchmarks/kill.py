"""SIGKILL under load, `KILLS` times, 200 unless it is set: records acknowledged, missing, and stored twice.

`make test` does the same with 20 kills.
"""

import os
import tempfile
from pathlib import Path

from report import table

from support.kills import kill_repeatedly

KILLS = int(os.environ.get("KILLS", "200"))

HEAD = ("kills", "spans acknowledged", "of them missing", "stored", "of them twice")


def main() -> str:
    """Kills a collector, and counts."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_repeatedly(Path(folder), KILLS)
    acknowledged, stored = outcome.acknowledged, set(outcome.stored)
    missing, repeated = acknowledged - stored, len(outcome.stored) - len(stored)
    counts = (outcome.kills, len(acknowledged), len(missing), len(outcome.stored), repeated)
    return table(HEAD, [[f"{count:,}" for count in counts]])
