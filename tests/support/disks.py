"""A small disk of its own, which can be full or read-only."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "8m") -> Iterator[Path]:
    """Mount a disk in memory; where that is not allowed the test is skipped, and says so."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("no small disk here: mounting one needs root")
    place = folder / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no small disk here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class FaultyDisk:
    """A disk of its own with ext4, which becomes read-only at an error while files are open, as Linux does."""

    def __init__(self, folder: Path) -> None:
        """Create and mount it; where that is not allowed the test is skipped, and says so."""
        if os.geteuid() or not shutil.which("mkfs.ext4"):
            pytest.skip("no faulty disk here: making one needs root and mkfs.ext4")
        self.path, self._image = folder / "disk", folder / "image"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(64 * 2**20)
        _run("mkfs.ext4", "-q", str(self._image))
        self.mount()

    def mount(self) -> None:
        """Mount it, writable."""
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))

    def fail(self) -> None:
        """Meet an error."""
        device = Path(_run("findmnt", "-no", "SOURCE", str(self.path)).strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("of a test")

    def repair(self) -> None:
        """Unmount it, check it, and mount it again."""
        _run("umount", str(self.path))
        subprocess.run(["e2fsck", "-fy", str(self._image)], capture_output=True, check=False)
        self.mount()

    def close(self) -> None:
        """Unmount it."""
        _run("umount", "--lazy", str(self.path))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no faulty disk here: {done.stderr.strip()}")
    return done.stdout


def make_read_only(disk: Path) -> None:
    """Let a mounted disk on which nothing is open take nothing any more."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left of a disk; the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError:
            return filler
