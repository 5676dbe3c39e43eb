"""SIGKILL under load, thirty times over: what was acknowledged, what is there, what is there twice.

`make test` does the same in five rounds.
"""

import tempfile
from pathlib import Path

from report import table

from support.siege import besiege

ROUNDS = 30


def main() -> str:
    """Besiege a collector, and count."""
    with tempfile.TemporaryDirectory() as folder:
        after = besiege(Path(folder), ROUNDS)
    stored = set(after.stored)
    head = ("kills", "spans acknowledged", "of them missing", "stored", "of them twice")
    said = (after.kills, len(after.acknowledged), len(after.acknowledged - stored), len(after.stored))
    return table(head, [[f"{number:,}" for number in (*said, len(after.stored) - len(stored))]])
