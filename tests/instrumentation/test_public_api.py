"""The public API of `sagascope`: its names, docstrings and types, and the cost of importing it."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sagascope
from sagascope import _errors, _settings, testing

PACKAGE = Path(sagascope.__file__).parent

NAMES = [
    "Attempt",
    "Batch",
    "Incoming",
    "MissingExtra",
    "PlanInvalid",
    "RunningSaga",
    "Saga",
    "SagascopeError",
    "SagascopeWarning",
    "SettingInvalid",
    "Stats",
    "Step",
    "__version__",
    "batch",
    "compensation",
    "configure",
    "current",
    "extract",
    "flush",
    "inject",
    "install",
    "shutdown",
    "stats",
    "step",
]


def test_public_names() -> None:
    assert sagascope.__all__ == NAMES
    assert set(NAMES) <= set(dir(sagascope))
    with pytest.raises(AttributeError, match="no attribute 'stepp'"):
        sagascope.stepp  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_the_names_that_are_imported() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (node.module, alias.name) for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {(f"sagascope.{module}", name) for module, names in sagascope._MODULES.items() for name in names}
    assert {name for _, name in seen} | {"__version__"} == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = getattr(sagascope, name)
    assert inspect.getdoc(value)
    for member, thing in vars(value).items() if inspect.isclass(value) else ():
        if callable(thing) and not member.startswith("_"):
            assert inspect.getdoc(thing), f"{name}.{member} has no docstring"


def test_every_setting_has_a_docstring() -> None:
    body = ast.parse(inspect.getsource(_settings.Options)).body[0]
    assert isinstance(body, ast.ClassDef)
    fields = [node for node in body.body if isinstance(node, ast.AnnAssign)]
    documents = [node for node in body.body if isinstance(node, ast.Expr)]
    assert len(documents) == len(fields) + 1


def test_errors_have_one_base_class() -> None:
    for name in ("MissingExtra", "PlanInvalid", "SettingInvalid"):
        assert issubclass(getattr(sagascope, name), _errors.SagascopeError)
        assert name in (_errors.__doc__ or "")


def run(script: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_api_imports_only_opentelemetry_api() -> None:
    loaded = run("import sys, sagascope; print(*(m for m in sys.modules if 'opentelemetry' in m))")
    assert not loaded.strip()
    script = """
        import sys
        from sagascope import *
        with Saga("payment", [Step("wallet.debit")]).begin("1") as saga, saga.step("wallet.debit"):
            inject({})
            with extract({"baggage": "saga.id=1"}):
                pass
        print(*sorted({m.split(".")[0] for m in sys.modules} - set(sys.stdlib_module_names)))
        print(*(m for m in sys.modules if m.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
    """
    packages, sdk = run(script, "-W", "error").splitlines()
    assert not sdk
    foreign = set(packages.split()) - {"sagascope", "opentelemetry", "typing_extensions", "__main__"}
    assert not {name for name in foreign if not name.startswith(("_", "sitecustomize", "distutils"))}


def test_what_services_import_loads_little_beside_opentelemetry_trace() -> None:
    loaded = [
        set(run(f"import sys; {statement}; print(*sys.modules)").split())
        for statement in ("import opentelemetry.trace", "from sagascope import Saga, Step, step, inject, extract")
    ]
    added = {name for name in loaded[1] - loaded[0] if not name.startswith(("sagascope", "opentelemetry"))}
    assert added <= {"dataclasses", "math"}  # pathlib with what it imports takes a tenth of the time of all


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


OTHER_NAMES = {
    "saga.status",  # of sagaz
    "sagascope.bridge",  # scopes, components and files
    "sagascope.columnar",
    "sagascope.download",
    "sagascope.doctor",
    "sagascope.duckdb",
    "sagascope.elements",
    "sagascope.header",
    "sagascope.sequence",
    "sagascope.timeline",
}


@pytest.mark.parametrize("package", ["instrumentation", "collector", "dashboard"])
def test_attribute_names_are_written_in_semconv_only(package: str) -> None:
    written = re.compile(r"""["']((?:saga|sagascope)\.[a-z_.]*[a-z_])["']""")
    for path in (PACKAGE.parents[1] / package).rglob("*.py"):
        if path.name != "semconv.py":
            found = set(written.findall(path.read_text()))
            shown = (
                {"saga.name"} if path.match("viewmodels/services.py") else set()
            )  # code that it tells people to write
            assert not found - OTHER_NAMES - shown, path


USER_CODE = """
import sagascope
from sagascope import Saga, Step

payment = Saga("payment", [Step("wallet.debit", compensation="wallet.refund"), "fraud.check"])

@sagascope.step("wallet.debit", max_attempts=3)
def debit(account: str, *, cents: int = 0) -> bool:
    return True

@sagascope.step
async def check(account: str) -> float:
    return 1.0

class Wallet:
    @sagascope.compensation("wallet.refund", compensates="wallet.debit")
    def refund(self, account: str) -> list[int]:
        return []

async def main() -> None:
    async with payment.begin("8492", amount="50.00", keys={"a": 1}) as saga:
        reveal_type(debit("A-1", cents=3))
        reveal_type(await check("A-1"))
        reveal_type(Wallet().refund("A-1"))
        with saga.step("wallet.debit", retry_in=1.5) as attempt:
            reveal_type(attempt.attempt)
        reveal_type(sagascope.current())
    debit(3)
    saga.step("wallet.debit", retries=3)
"""


def pyright(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    pytest.importorskip("pyright", reason="pyright is not installed")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node, and node is not installed")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PACKAGE.parent), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pyright", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_types_of_user_code_are_preserved(tmp_path: Path) -> None:
    (tmp_path / "pay.py").write_text(USER_CODE)
    output = pyright("pay.py", cwd=tmp_path).stdout
    revealed = re.findall(r'Type of ".+" is "(.+)"$', output, re.MULTILINE)
    assert revealed == ["bool", "float", "list[int]", "int", "RunningSaga | None"]
    problems = re.findall(r"pay\.py:(\d+):\d+ - error", output)
    lines = [USER_CODE.splitlines()[int(number) - 1].strip() for number in problems]
    assert set(lines) == {"debit(3)", 'saga.step("wallet.debit", retries=3)'}


def test_types_of_the_public_api_are_complete(tmp_path: Path) -> None:
    output = pyright("--verifytypes", "sagascope", "--ignoreexternal", cwd=tmp_path).stdout
    assert "Type completeness score: 100%" in output, output


def test_names_of_the_testing_module() -> None:
    assert testing.__all__ == ["RecordedAttempt", "RecordedSaga", "RecordedSpan", "Recorder", "Ticks", "record"]
    for name in testing.__all__:
        assert inspect.getdoc(getattr(testing, name))
