"""Maintains a lake as its leader does, with other limits, in a process of its own.

Arguments: the catalog, the data, the file of the copy, a file that exists while maintenance is asked for, the age of
records to keep in seconds or "", and limits of `lake.leader` as JSON. It maintains at least once completely.
"""

import json
import sys
import time
from pathlib import Path

from sagascope_collector.cli.database import summarize_changes
from sagascope_collector.lake import Follower, Lake, LakeErasure, LakeMaintenance, leader
from sagascope_collector.storage import RetentionPolicy, Storage


def main(catalog: str, data: str, copy: str, asked: str, keep: str, limits: str) -> None:
    """Maintains the lake."""
    for name, value in json.loads(limits).items():
        setattr(leader, name, value)
    keep_seconds = float(keep) if keep else None
    lake = Lake(catalog, data)
    storage = Storage(copy, keep=RetentionPolicy(seconds=keep_seconds))
    follower = Follower(lake, storage, str)
    follower.catch_up()
    follower.start()
    erasure = LakeErasure(lake, storage, str, follower)
    maintained = LakeMaintenance(lake, storage, follower, erasure, lambda: True, keep_seconds)
    last_steps = 3  # a step's own snapshots are copied before the next
    while last_steps:
        summarize_changes(storage)
        while storage.maintain():
            continue
        if not Path(asked).exists():
            last_steps -= 1
            time.sleep(0.6)
        while follower.unready():
            time.sleep(0.05)
        maintained.step()
        time.sleep(0.2)
    follower.stop()
    storage.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
