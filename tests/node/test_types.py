"""The types of `sample_services/node/saga`: its own code is consistent, and callers in TypeScript are checked."""

import json
import subprocess
from pathlib import Path

import pytest

from support.node import SAMPLE

pytestmark = pytest.mark.xdist_group("node")

OPTIONS = {
    "allowJs": True,
    "checkJs": True,
    "esModuleInterop": True,
    "lib": ["es2022"],
    "module": "node16",
    "moduleResolution": "node16",
    "noEmit": True,
    "skipLibCheck": True,
    "strict": True,
    "target": "es2022",
}

CALLER = """
import { Sagas } from './saga';

const sagas = new Sagas({ endpoint: 'http://127.0.0.1:4318' });
export const paid: Promise<number> = sagas.run('return', 'A-1', { plan: [{ name: 'refund.pay' }] }, async () =>
  sagas.step('refund.pay', { timeout: 5 }, () => 7));
// @ts-expect-error an option that does not exist
sagas.step('refund.pay', { timeoutSeconds: 5 }, () => 7);
// @ts-expect-error an id is a string
sagas.run('return', 1, {}, () => 7);
"""


def test_types_are_consistent(modules: Path, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(modules)
    folder = tmp_path / "saga"
    folder.mkdir()
    for file in (SAMPLE / "saga").glob("*.js"):
        (folder / file.name).write_text(file.read_text())
    (tmp_path / "caller.ts").write_text(CALLER)
    options = OPTIONS | {"types": ["node"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["saga", "caller.ts"]}))
    compiler = modules / "typescript" / "bin" / "tsc"
    done = subprocess.run(["node", str(compiler), "-p", "."], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
