"""What every process that receives telemetry does around its event loop: memory, signals, garbage collection."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib.abc import MetaPathFinder
from typing import Any, Final

import pyarrow as pa

from sagascope_collector.settings import Settings, memory_limit_bytes

THREAD_SWITCH_SECONDS: Final = 0.0002
"""Ingest makes about a hundred short calls, and would wait for Python's default of 5 ms after each of them."""

GC_THRESHOLDS: Final = (100_000, 20, 20)
"""Decoding creates many objects and no cycles."""

_log: Final = logging.getLogger(__name__)


def prepare() -> None:
    """Sets up the process, before anything is opened."""
    sys.meta_path.insert(0, _WithoutPandas())


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Runs until the coroutine ends."""
    _use_jemalloc()
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serving)
    finally:
        gc.unfreeze()  # otherwise DuckDB's binding reports uncollectable objects at exit


def within_memory(settings: Settings) -> Settings:
    """Returns the settings with memory limits that fit into this process's own."""
    limit = memory_limit_bytes()
    if limit is None or (limited := settings.within_memory(limit)) == settings:
        return settings
    _log.warning(
        "This process may use %d MB of memory: the database is limited to %d MB, and the queue to %d MB.",
        *(each // 1_000_000 for each in (limit, limited.memory_bytes, limited.queue_bytes)),
    )
    return limited


class _WithoutPandas(MetaPathFinder):
    """Prevents PyArrow from importing pandas, which this process does not use.

    The import takes a tenth of the start-up time, and 32 MB.
    """

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("The collector does without pandas.", name=fullname)


def _use_jemalloc() -> None:
    """Makes Arrow return freed memory: its default pool keeps hundreds of MB at full load."""
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns uvloop's event loop if it is installed; it serves a third more requests."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def stop_signal() -> asyncio.Future[None]:
    """Returns a future that the first SIGTERM or SIGINT completes; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if not stopped.done():  # two signals may have arrived together
            stopped.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopped
