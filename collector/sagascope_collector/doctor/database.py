"""Whether the database can be opened, and who has it open."""

import re
from pathlib import Path
from typing import Final

from sagascope_collector.doctor.api import Answered
from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, ok, problem
from sagascope_collector.errors import CannotStart, DatabaseLocked
from sagascope_collector.storage.migrate import inspect

CHECK: Final = "database"

HOLDER: Final = re.compile(r"held in (?P<program>\S+) \(PID (?P<pid>\d+)\)")
"""How DuckDB names who has a file open."""


def look(patient: Patient, collector: Answered) -> Result:
    """Open it to read, unless it is not there yet."""
    path = patient.db
    if not path.exists():
        if collector.status is not None:
            return ok(CHECK, f"{path} is not there; the collector that answers keeps its data elsewhere.")
        return ok(CHECK, f"{path} does not exist yet; it is made at the first start.")
    try:
        found = inspect(path)
    except DatabaseLocked as error:
        return _locked(path, str(error), collector)
    except CannotStart as error:
        return problem(CHECK, str(error), "Name another file with --db, or bring a backup back.")
    if found.schema < found.known:
        return ok(CHECK, f"{path} opens; its schema {found.schema} becomes {found.known} at the next start.")
    return ok(CHECK, f"{path} opens; its schema is {found.schema}, this version's own.")


def _locked(path: Path, reason: str, collector: Answered) -> Result:
    said = HOLDER.search(reason)
    holder = f"process {said['pid']} ({said['program']})" if said else "another process"
    if not collector.is_absent:
        return ok(CHECK, f"{path} is open in {holder}, and something answers as a collector.")
    advice = f"End {holder}, or name another file with --db." if said else "Find it with `fuser`, and end it."
    return problem(CHECK, f"{path} is open in {holder}, and no collector answers.", advice)
