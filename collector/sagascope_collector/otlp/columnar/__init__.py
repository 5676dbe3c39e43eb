"""Requests to columns without an object for each record: protobuf is read into Arrow, and rearranged there.

It reads what nearly all requests hold, and leaves the others to the exact path: see `otlp.decode`. What it reads
becomes the very rows that the exact path would have made.
"""

from sagascope_collector.otlp.columnar.requests import Requests

__all__ = ["Requests"]
