"""Maintains a lake as its leader does, with other limits, in a process of its own.

Arguments: the catalog, the data, the file of the copy, the age of records to keep in seconds or "", and limits of
`lake.leader` as JSON. It maintains until its standard input ends, and at least once completely.
"""

import json
import sys
import threading
import time

from sagascope_collector.cli.database import summarize_changes
from sagascope_collector.lake import Follower, Lake, LakeErasure, LakeMaintenance, leader
from sagascope_collector.storage import RetentionPolicy, Storage


def main(catalog: str, data: str, copy: str, keep: str, limits: str) -> None:
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
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    last_steps = 3  # a step's own snapshots are copied before the next
    while last_steps:
        summarize_changes(storage)
        while storage.maintain():
            continue
        if over.is_set():
            last_steps -= 1
            time.sleep(0.6)
        while follower.unready():
            time.sleep(0.05)
        maintained.step()
        over.wait(0.2)
    follower.stop()
    storage.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
