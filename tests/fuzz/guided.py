"""Fuzzes one target guided by the code that each input reaches, where atheris is installed (it is no requirement).

python tests/fuzz/guided.py TARGET FOLDER [-max_total_time=60 ...]

What reaches further is kept in FOLDER, what does harm beside it; the options are libFuzzer's.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

OURS = ["sagascope_collector.otlp", "sagascope_collector.engines", "sagascope_collector.scrubbing"]
OURS += ["sagascope_collector.analysis", "sagascope_collector.api", "sagascope_collector.storage"]

with atheris.instrument_imports(include=OURS):
    from support.fuzzing import CORPUS, TARGETS

if __name__ == "__main__":
    name, folder, *options = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    given = [sys.argv[0], folder, str(CORPUS / name), f"-artifact_prefix={folder}-harm-", *options]
    atheris.Setup(given, TARGETS[name])
    atheris.Fuzz()
