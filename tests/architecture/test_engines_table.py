"""docs/engines/README.md claims of each engine what a test asserts, and nothing else."""

import ast
import re

from sagascope_collector.client import schemas
from sagascope_collector.engines.registry import ENGINES
from support import documents
from support.shown import SITUATIONS, SYSTEMS, TESTS, shown, table


def test_the_table_of_engines_is_that_of_the_tests() -> None:
    documents.compare("engines/README.md", {"shown": table()})


def test_rules_for_attributes_may_name_every_engine() -> None:
    page = (documents.ROOT / "docs" / "engines" / "attribute-mapping.md").read_text()
    (names,) = re.findall(r"^\| `when` \|.*?`engine` \((.*?)\)", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", names) == [engine.name for engine in ENGINES]


def test_every_answer_is_one_that_sagascope_gives_about_a_known_situation() -> None:
    answers = {"completed", "compensated", "failed", *schemas.AttentionCode}
    for each in shown():
        assert each.system in SYSTEMS, each
        assert each.situation in SITUATIONS, each
        assert each.answer in answers, each


def test_a_test_that_shows_something_asserts_it() -> None:
    """Its text has the answer, or it compares the findings of a demo with the planned ones."""
    bodies = {
        node.name: ast.get_source_segment(text, node) or ""
        for path in TESTS.glob("**/test_*.py")
        if "mark.shows(" in (text := path.read_text())
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }
    recordings = {path.stem: path.read_text() for path in TESTS.glob("recordings/cases/*.toml")}
    for each in shown():
        text = recordings.get(each.by) or bodies[each.by]
        assert each.answer in text or "PLANTED_FAULTS" in text or "planted_faults" in text, each
        assert "pytest.mark.skip" not in text, each
