"""The storage tests run on the other version of DuckDB too, where `make test` has installed it."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from support.otlp import log, logs, of_saga, span, traces

from .conftest import append, maintain

ROOT = Path(__file__).parents[3]
OTHER = ROOT / ".duckdb-other"
FILES = sorted(each.name for each in Path(__file__).parent.glob("test_*.py") if each.name != Path(__file__).name)

pytestmark = pytest.mark.skipif(not (OTHER / "duckdb").is_dir(), reason="`make test` installs the other DuckDB")

APPEND = """
import sys
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
storage = Storage(sys.argv[1])
assert storage.data_loss is None
assert len(storage.lookup.facts([SagaId("", "8492")])[SagaId("", "8492")].spans) == 1
assert storage.database.rows("SELECT attributes->>'saga.id' FROM spans") == [("8492",)]
storage.database.rows("DELETE FROM log_records")
storage.close()
import duckdb
print(duckdb.__version__)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the other DuckDB."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=kept | {"PYTHONPATH": str(OTHER)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.mark.parametrize("name", FILES)
def test_the_tests_of_the_storage_pass(name: str) -> None:
    done = run("-m", "pytest", "-q", "-x", "-p", "no:xdist", str(Path(__file__).parent / name))
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]


def test_either_version_opens_what_the_other_wrote(tmp_path: Path) -> None:
    path = str(tmp_path / "storage.duckdb")
    storage = Storage(path)
    append(storage, traces(span(1, attributes=of_saga())), logs(log("x", attributes=of_saga())))
    maintain(storage)
    storage.close()
    done = run("-c", APPEND, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != duckdb.__version__
    storage = Storage(path)
    facts = storage.lookup.facts([SagaId("", "8492")])[SagaId("", "8492")]
    assert (len(facts.spans), len(facts.logs)) == (1, 0)
    storage.close()
