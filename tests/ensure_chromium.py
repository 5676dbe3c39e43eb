"""Install Debian's Chromium where it is missing and this process may; else say what to run, and go on."""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Leave with status 0 always: without a browser the browser tests say so by name and reason."""
    if any(map(shutil.which, NAMES)):
        return
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        print(
            "No Chromium here: the browser tests will be skipped. To run them: sudo apt-get install chromium",
            file=sys.stderr,
        )
        return
    print("Installing Chromium for the browser tests")
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ):
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode:
            print(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}", file=sys.stderr)
            return


if __name__ == "__main__":
    main()
