"""What `pip install` gives: the wheel in an empty environment, its extras, its licence and those of what it needs."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("instrumentation", "collector", "dashboard", "sample_services")
ALLOWED_LICENCES = re.compile(r"MIT|BSD|Apache|ISC|PSF|MPL|Mozilla|Zlib|CC0|Python Software Foundation", re.IGNORECASE)

pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "default", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{command} left with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, ROOT)
    (built,) = out.glob("sagascope-*.whl")
    return built


def pip(python: Path, *words: str | Path) -> list[str | Path]:
    """The command line of this environment's pip for another one: a copy of its own would take seconds to make."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *words]


@pytest.fixture(scope="module")
def empty_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and nothing else: its Python."""
    home = tmp_path_factory.mktemp("empty")
    venv.create(home)
    python = home / "bin" / "python"
    run(*pip(python, "install", "--quiet", "--no-deps", "--no-compile", wheel))
    return python


@pytest.fixture(scope="module")
def environment_with_everything(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, and beside it the pinned dependencies of this environment, but none of its source trees."""
    home = tmp_path_factory.mktemp("whole")
    venv.create(home)
    python = home / "bin" / "python"
    run(*pip(python, "install", "--quiet", "--no-deps", "--no-compile", wheel))
    packages = next((home / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return python


def requirements(extra: str | None) -> set[str]:
    """Names of the distribution's direct requirements for one extra; None = without any."""
    wanted = set()
    for line in metadata.requires("sagascope") or []:
        of_extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if (of_extra.group(1) if of_extra else None) == extra:
            wanted.add(re.split(r"[\s<>=!;\[]", line, maxsplit=1)[0])
    return wanted


def test_the_wheel_contains_every_file_that_the_code_loads(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        path.relative_to(ROOT / house).as_posix()
        for house in HOUSES
        for path in (ROOT / house).rglob("*")
        if (path.is_file() and path.suffix in {".py", ".sql", ".js", ".css", ".toml"}) or path.name == "py.typed"
        if "__pycache__" not in path.parts and "node_modules" not in path.parts
        if path.relative_to(ROOT / house).parts[0].startswith("sagascope")
    }
    assert len([name for name in needed if name.endswith("py.typed")]) == len(HOUSES)
    assert needed <= inside


def test_the_library_alone_needs_opentelemetrys_api_and_nothing_else() -> None:
    assert requirements(None) == {"opentelemetry-api"}


@pytest.mark.parametrize("extra", ["otlp", "collector", "dashboard", "samples", "all"])
def test_each_extra_is_there(extra: str) -> None:
    assert requirements(extra)


def test_an_empty_environment_gets_a_library_that_imports(empty_environment: Path) -> None:
    command = pip(empty_environment, "install", "--quiet", "opentelemetry-api")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(
            "no package registry answers here, so opentelemetry-api cannot be installed into an empty environment"
        )
    run(empty_environment, "-c", "import sagascope; sagascope.Saga('payment', [])")
    listed = run(*pip(empty_environment, "list", "--format", "freeze"))
    ours = {line.split("==")[0] for line in listed.split()} - {"pip", "setuptools", "wheel"}
    assert ours <= {"sagascope", "opentelemetry-api", "typing_extensions", "importlib_metadata", "zipp"}


def test_the_command_names_the_extra_to_install(empty_environment: Path) -> None:
    command = empty_environment.parent / "sagascope"
    done = subprocess.run([command, "serve"], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'pip install "sagascope[' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_wheel_serves_without_the_source_tree(environment_with_everything: Path, tmp_path: Path) -> None:
    run(environment_with_everything.parent / "sagascope", "serve", "--help", cwd=tmp_path)
    loaded = run(
        environment_with_everything,
        "-c",
        "import sagascope_samples, sagascope_dashboard, sagascope_collector.app as app; print(app.__file__)",
        cwd=tmp_path,
    )
    assert str(ROOT) not in loaded
    assert Path(sysconfig.get_paths()["purelib"]) not in Path(loaded.strip()).parents


def pinned(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_development_lock_holds_what_users_run() -> None:
    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert runtime.items() <= development.items()


def test_every_direct_requirement_is_pinned() -> None:
    direct = set().union(*(requirements(e) for e in (None, "otlp", "collector", "bridges", "dashboard", "samples"))) - {
        "sagascope"
    }
    assert direct <= set(pinned("requirements.lock"))


LINKED_ONLY = {"psycopg", "psycopg-binary"}
"""Under the LGPL: an extra alone needs them, nothing of them is in our packages, and who runs it may exchange them."""


def test_every_pinned_package_has_a_licence_that_allows_ours() -> None:
    unclear = {}
    for name in pinned("requirements.lock"):
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform
        classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
        said = " ".join([about.get("License-Expression") or "", about.get("License") or "", *classifiers])
        if not ALLOWED_LICENCES.search(said) and not (name in LINKED_ONLY and said.startswith("LGPL-3.0-only")):
            unclear[name] = said
    assert not unclear


def test_no_tracked_file_names_a_registry_or_this_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org")
    for name in filter(None, tracked.stdout.split("\0")):
        text = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        found = [word for word in (*hosts, str(ROOT) + "/") if word.encode() in text]
        assert not found, f"{name} names {found}"
