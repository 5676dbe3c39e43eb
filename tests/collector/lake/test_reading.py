"""The lake as docs/scale.md reads it: a DuckDB that Sagascope did not set up, as a role that may only read."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from support.lake import ROOT, LakePlace, needs_extensions
from support.otlp import of_saga, resource, span, traces
from support.preloaded import OTHER_DUCKDB

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

PROGRAM = """
import json, sys
import duckdb
folder, *statements = sys.argv[1:]
connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
for name in ("postgres_scanner", "httpfs", "ducklake"):
    path = f"{folder}/duckdb_extension_{name}/extensions/v{duckdb.__version__}/{name}.duckdb_extension"
    connection.execute(f"LOAD '{path}'")
for statement in statements:
    found = connection.execute(statement).fetchall()
print(json.dumps(found))
"""


def documented() -> list[str]:
    """The blocks of SQL in the section on reading."""
    text = (ROOT / "docs" / "scale.md").read_text()
    section = text.partition("## Read the lake with DuckDB")[2].partition("\n## ")[0]
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)


def test_a_plain_duckdb_reads_the_lake_as_documented(lake: LakePlace, tmp_path: Path) -> None:
    in_postgresql, in_duckdb = documented()
    reader = lake.server.dsn(lake.database).replace("tester@", "reader:secret@")
    with lake.running("receive", tmp_path / "receiver") as receiver:
        spans = [span(number, attributes=of_saga("8492")) for number in (1, 2)]
        assert receiver.send("/v1/traces", traces(*spans, of=resource("ledger")).SerializeToString())
        with lake.server.connect(lake.database) as connection:
            connection.execute(in_postgresql.encode())
        with psycopg.connect(reader) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM ducklake_snapshot")
        statements = in_duckdb.replace("postgresql://reader:secret@db.example/sagascope", reader).split(";\n")[:-1]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(OTHER_DUCKDB), *statements],
            env={**os.environ, "PYTHONPATH": str(OTHER_DUCKDB)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [["ledger", 2]]
