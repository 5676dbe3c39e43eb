"""Documents that can be wrong are compared with what they speak of."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "collector" / "sagascope_collector"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_names_a_file_that_exists(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


def test_the_readme_names_only_targets_that_make_has() -> None:
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named <= made


def test_the_changelog_knows_the_version() -> None:
    from sagascope import __version__

    changes = (ROOT / "CHANGELOG.md").read_text()
    assert "Unreleased" in changes or __version__ in changes


def test_the_diagnosis_is_explained_code_by_code_in_its_order() -> None:

    from sagascope_collector.attention_codes import AttentionCode

    explained = re.findall(r"^### (\w+)$", (ROOT / "docs" / "diagnosis.md").read_text(), re.MULTILINE)
    assert explained == [reason.value for reason in AttentionCode]


def rows_of(section: str) -> list[str]:
    """The rows of the tables of a section of the guide to operations, without their heads."""
    text = (ROOT / "docs" / "operations.md").read_text().partition(f"\n## {section}")[2].partition("\n## ")[0]
    lines = text.splitlines()
    heads = {lines[number - 1] for number, line in enumerate(lines) if line.startswith("|---")}
    return [line for line in lines if line.startswith("| ") and line not in heads]


@pytest.mark.parametrize(("section", "columns", "least"), [("What is promised", 2, 40), ("Threat model", 3, 10)])
def test_every_promise_names_the_tests_that_hold_it(section: str, columns: int, least: int) -> None:
    rows = [row for row in rows_of(section) if row.count(" | ") == columns - 1]
    assert len(rows) >= least
    for row in rows:
        named = re.findall(r"\[([\w/]+)\]\(\.\./(tests/[\w/]+\.py)\)", row)
        assert named, row
        assert all(
            path.endswith(f"{label}.py") and "def test_" in (ROOT / path).read_text() for label, path in named
        ), row


def test_contributing_names_only_files_and_definitions_that_exist() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where to make a change")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 10
    for row in rows:
        named = set(re.findall(r"`([\w./]+)`", row))
        found = {each: ROOT / each for each in named if (ROOT / each).exists()}
        found |= {each: PACKAGE / each for each in named if (PACKAGE / each).exists()}
        files = [file for path in found.values() for file in (path.glob("*.py") if path.is_dir() else [path])]
        code = "\n".join(file.read_text() for file in files)
        unknown = [
            each for each in named - set(found) if not re.search(rf"^(class |def |){each}[:( ]", code, re.MULTILINE)
        ]
        assert not unknown, row


def test_the_default_retention_is_that_of_the_settings_everywhere() -> None:
    from sagascope_collector.settings import DEFAULT_KEEP

    assert f"kept for {DEFAULT_KEEP.removesuffix('d')} days" in (ROOT / "docs" / "retention.md").read_text()
    repeated = [path.name for path in (ROOT / "deploy").glob("*.*") if re.search(r"SAGASCOPE_KEEP\b", path.read_text())]
    assert not repeated


def test_the_architecture_names_every_package_and_module_of_the_collector() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    parts = [*PACKAGE.glob("[a-z]*.py"), *(path.parent for path in PACKAGE.glob("*/__init__.py"))]
    modules = PACKAGE.glob("analysis/[a-z]*.py")
    named = {each.removesuffix(".py").strip("/").rpartition("/")[2] for each in re.findall(r"`([\w./]+)`", text)}
    assert {path.stem for path in (*parts, *modules)} <= named
