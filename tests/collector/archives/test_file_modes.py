"""What commands write is for its owner alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import payments
from support.collector import RunningCollector, running_collector
from support.command import run


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(tmp_path_factory.mktemp("modes")) as running:
        payments.send(running, *payments.saga("8492"))
        payments.soon(lambda: run("show", "8492", url=running.api).returncode == 0)
        yield running


def test_backups_and_exports_are_for_their_owner_alone(collector: RunningCollector, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    backup, at_rest = str(folder / "backup.duckdb"), ("--db", str(folder / "restored.duckdb"))
    for words in (
        ("backup", backup),
        ("restore", backup, *at_rest),
        ("backup", str(folder / "again.duckdb"), *at_rest),
        ("export", "8492", "--output", str(folder / "saga.jsonl")),
        ("export", "--parquet", str(folder / "parquet")),
        ("export", "--parquet", str(folder / "parquet at rest"), *at_rest),
    ):
        done = run(*words, url=collector.api)
        assert done.returncode == 0, done.stderr
    written = {
        str(each.relative_to(folder)): (each.is_dir(), each.stat().st_mode & 0o777) for each in folder.rglob("*")
    }
    assert {"backup.duckdb", "restored.duckdb", "again.duckdb", "saga.jsonl", "parquet"} <= set(written)
    assert {name: f"{mode:o}" for name, (is_dir, mode) in written.items()} == {
        name: "700" if is_dir else "600" for name, (is_dir, _) in written.items()
    }
