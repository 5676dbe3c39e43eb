"""What a process is called where its service does not say it. People read it; ``sagascope.process.id`` is unique."""

import os
import socket
from typing import NamedTuple

LONGEST_HOST = 40


class Renamed(NamedTuple):
    """An instance under another name."""

    before: str
    now: str


def instance_name() -> str:
    """``host:pid``: short, and found again in other tools."""
    host = socket.gethostname().partition(".")[0][:LONGEST_HOST] or "localhost"
    return f"{host}:{os.getpid()}"
