"""The disk of one real service is full: its step is said to fail, with what the service says, and nothing else."""

from pathlib import Path
from random import Random

import pytest

from support.disks import fill, small_disk
from support.fault_injection import FOUND_WITHIN, Found, order, world
from support.samples import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

FULL = Found("retrying", "forward", "wallet.debit", "wallet")


def test_a_service_whose_disk_is_full_is_named_and_heals(tmp_path: Path) -> None:
    chance = Random(8492)
    with small_disk(tmp_path, "1m") as disk:
        (tmp_path / "wallet.sqlite").symlink_to(disk / "wallet.sqlite")
        with world(tmp_path) as made:
            made.samples.pay(order("before", chance))
            made.samples.wait_for("before", "completed")
            filler = fill(disk)
            stuck = [f"full-{number}" for number in range(3)]
            for payment in stuck:
                made.samples.pay(order(payment, chance))
            expected = dict.fromkeys(stuck, FULL)
            wait_until(lambda: made.needing() == expected, "not all were found to fail", FOUND_WITHIN)
            assert "disk is full" in made.saga("full-0")["verdict"]["headline"]
            filler.unlink()
            for payment in stuck:
                made.samples.wait_for(payment, "completed")
            wait_until(lambda: not made.needing(), "it is over, and still said to need attention", FOUND_WITHIN)
