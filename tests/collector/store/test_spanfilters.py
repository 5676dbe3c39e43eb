"""Filters of span ids: which chunks they spare, and that nothing is missed with a wrong one, or with none."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sagascope_collector.store import DuckDBStore, chunk, mapped
from support.otlp import NOON, log, logs, of_saga, span, span_id, trace_id, traces

from .conftest import append
from .test_summaries import keep, row

SPANS = range(1, 201)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    """Two chunks of spans, one of a log record."""
    opened = DuckDBStore(str(path), clock=lambda: NOON)
    for part in (SPANS[:100], SPANS[100:]):
        append(opened, *(traces(span(each, trace=each, attributes=of_saga(str(each)))) for each in part))
        opened.seal()
    ids = {"trace_id": trace_id(900), "span_id": span_id(900)}
    append(opened, logs(log("x", attributes=of_saga("900"), **ids)))
    opened.seal()
    keep(opened, *(row(str(each), environment="") for each in (*SPANS, 900)))
    while opened.tend():
        pass
    yield opened
    opened.close()


def filters(path: Path) -> list[Path]:
    return sorted(Path(f"{path}.d").glob("*.ids.npy"))


def found(store: DuckDBStore, number: int) -> list[str]:
    return [saga.key.id for _, saga in store.search(f"{number:016x}", limit=5)]


def test_a_span_is_found_in_any_chunk(store: DuckDBStore, path: Path) -> None:
    assert len(filters(path)) == 3
    assert [found(store, each) for each in (*SPANS, 900)] == [[str(each)] for each in (*SPANS, 900)]
    assert found(store, 901) == []


def test_most_chunks_without_a_span_are_spared(store: DuckDBStore, path: Path) -> None:
    for each in Path(f"{path}.d").glob("*.parquet"):
        if each.name.startswith(("00000001", "00000002")):
            each.write_bytes(b"not read")
    assert found(store, 900) == ["900"]
    assert found(store, 12345) == []


@pytest.mark.parametrize("damage", ["missing", "short", "cut", "of other files", "text"])
def test_a_filter_that_is_not_right_is_made_again(store: DuckDBStore, path: Path, damage: str) -> None:
    first, second, _ = filters(path)
    store.close()
    match damage:
        case "missing":
            first.unlink()
        case "short":
            first.write_bytes(first.read_bytes()[:100])
        case "cut":
            first.write_bytes(first.read_bytes()[:-8])
        case "text":
            first.write_text("not a filter")
        case _:
            wrong = mapped.load(second).copy()
            wrong[0] = 1
            mapped.save(first, wrong)
    again = DuckDBStore(str(path), clock=lambda: NOON)
    assert found(again, 5) == ["5"]
    assert again.tend()
    assert found(again, 5) == ["5"]
    assert mapped.load(first)[0] == sum(
        chunk.path_of(first.parent, 1, kind).stat().st_size for kind in ("spans", "sagas", "groups")
    )
    again.close()


def test_what_is_left_of_a_filter_goes_with_its_chunk(tmp_path: Path) -> None:
    for name in ("00000007.ids.npy", "00000007.ids.tmp", "00000008.ids.npy", "other.ids.npy"):
        np.save(tmp_path / name, np.zeros(1, np.uint64))
    for each in tmp_path.glob("*.tmp.npy"):
        each.rename(each.with_suffix(""))
    chunk.discard_unfinished(tmp_path, [8])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["00000008.ids.npy", "other.ids.npy"]
