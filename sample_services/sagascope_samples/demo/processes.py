"""The processes of the demo, and the folder with their logs and databases."""

import fcntl
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sagascope_samples.chassis import Settings
from sagascope_samples.demo.addresses import SERVICES, Addresses, CannotStart
from sagascope_samples.demo.supervisor import ProcessSpec

HEARTBEAT_SECONDS: Final = 2.0
"""Short, so that the loss of a process is detected soon, but long enough for a busy machine."""

DEFAULT_FOLDER: Final = Path(".demo")

RUN_FILES: Final = ("*.log", "*.sqlite*", "sagascope.duckdb*", "nats", "temporal.db*")
"""Files of a run, which the next run in the folder deletes."""


def collector(addresses: Addresses, folder: Path, options: Sequence[str] = ()) -> ProcessSpec:
    """Returns the collector, with a database in the folder of the run."""
    listeners = {"--otlp-grpc": addresses.otlp_grpc, "--otlp-http": addresses.otlp_http, "--api": addresses.api}
    listen = [word for option, address in listeners.items() for word in (option, str(address))]
    command = [*_module("sagascope_collector"), "serve", "--db", str(folder / "sagascope.duckdb"), *listen, *options]
    return ProcessSpec("collector", command, {}, f"{addresses.api.url}/readyz")


def dashboard(addresses: Addresses) -> ProcessSpec:
    """Returns the dashboard of that collector."""
    options = ["--address", str(addresses.dashboard), "--url", addresses.api.url]
    command = [*_module("sagascope_dashboard"), *options]
    return ProcessSpec("dashboard", command, {}, f"{addresses.dashboard.url}/_stcore/health")


def services(addresses: Addresses, folder: Path) -> list[ProcessSpec]:
    """Returns the six sample services."""
    return [_service(name, addresses, folder) for name in SERVICES]


def _service(name: str, addresses: Addresses, folder: Path) -> ProcessSpec:
    address = addresses.services[name]
    peers = {peer: each.url for peer, each in addresses.services.items()}
    settings = Settings(address.host, address.port, folder / f"{name}.sqlite", peers, HEARTBEAT_SECONDS)
    environment = {**settings.to_environment(), "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}
    return ProcessSpec(name, _module(f"sagascope_samples.{name}"), environment, f"{address.url}/healthz")


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


@contextmanager
def persistent_folder(folder: Path) -> Iterator[Path]:
    """Opens a folder that is kept after the run, without the files of an earlier run, for one run at a time.

    Raises:
        CannotStart: Another run uses it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(f"Another demo uses {folder}. Choose another folder with --folder FOLDER.") from error
        _delete_run_files(folder)
        yield folder.resolve()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Opens a folder that is deleted after the run, or kept for inspection if the run fails."""
    folder = Path(tempfile.mkdtemp(prefix="sagascope-demo-"))
    failed = False
    try:
        yield folder
    except Exception:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _delete_run_files(folder: Path) -> None:
    for path in (path for pattern in RUN_FILES for path in folder.glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
