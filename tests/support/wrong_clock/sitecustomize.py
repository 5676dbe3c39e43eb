"""In a process whose path has this folder, the clock is wrong by the seconds of `WRONG_BY`."""

import os
import time

_WRONG_BY_NS = int(os.environ["WRONG_BY"]) * 1_000_000_000
_time_ns = time.time_ns

time.time_ns = lambda: _time_ns() + _WRONG_BY_NS
time.time = lambda: (_time_ns() + _WRONG_BY_NS) / 1e9
