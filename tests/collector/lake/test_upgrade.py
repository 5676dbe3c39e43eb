"""Processes of two versions on one lake, while the later one changes its tables: real processes."""

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.lake import LakePlace, needs_extensions, request, shown_by
from support.otlp import log, logs, of_saga
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]


def test_processes_of_two_versions_run_beside_each_other_until_one_cannot(lake: LakePlace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        earlier = stack.enter_context(lake.running("serve", tmp_path / "earlier"))
        assert earlier.send("/v1/traces", request(1))
        wait_until(lambda: shown_by(earlier) == [1], "the collector does not follow", 60)

        next_version = lake.with_migrations(1)
        later = stack.enter_context(next_version.running("serve", tmp_path / "later"))
        assert later.send("/v1/traces", request(2))
        line = log("a line", attributes=of_saga("8492"))
        for number, each in ((3, earlier), (4, later)):  # the earlier one goes on without the new columns
            assert each.send("/v1/traces", request(number))
            assert each.send("/v1/logs", logs(line).SerializeToString())
        zones = {"span 1": None, "span 2": "north", "span 3": None, "span 4": "north"}
        assert dict(lake.query("SELECT name, zone FROM spans")) == zones  # type: ignore[arg-type]
        assert sorted(map(str, lake.query("SELECT zone FROM logs"))) == ["['north']", "[None]"]
        collectors = [earlier, later, stack.enter_context(lake.running("serve", tmp_path / "fresh"))]
        for each in collectors:
            wait_until(lambda each=each: shown_by(each) == [1, 2, 3, 4], "a collector misses records", 60)

        last = lake.with_migrations(2)
        with (
            pytest.raises(AssertionError, match=r"cannot go on after this upgrade\. Stop all of them first"),
            last.running("receive", tmp_path / "last"),
        ):
            pass
        assert earlier.send("/v1/traces", request(5))
        for each in collectors:
            wait_until(lambda each=each: shown_by(each) == [1, 2, 3, 4, 5], "the refused upgrade changed it", 60)
    paused = ExitStack()
    receiver = paused.enter_context(next_version.running("receive", tmp_path / "paused"))
    receiver.process.send_signal(signal.SIGSTOP)  # after 10 s, nothing tells it from one that ended
    paused.callback(receiver.process.send_signal, signal.SIGCONT)
    with lake.server.connect(lake.database) as connection:
        connection.execute("UPDATE sagascope_receivers SET seen_at = seen_at - interval '10 seconds'")
    with paused, last.running("serve", tmp_path / "fresh") as collector:
        receiver.process.send_signal(signal.SIGCONT)
        assert not receiver.send("/v1/traces", request(7))
        wait_until(lambda: not receiver.is_ready(), "an excluded receiver is ready", 60)
        assert collector.send("/v1/traces", request(6))
        wait_until(lambda: shown_by(collector) == [1, 2, 3, 4, 5, 6], "the upgrade loses records", 60)
        with (
            pytest.raises(AssertionError, match="was upgraded by a later version of Sagascope"),
            lake.running("receive", tmp_path / "earlier"),
        ):
            pass
