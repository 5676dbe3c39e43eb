"""docs/diagnosis.md explains every code, each with an example that is one."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from sagascope_collector.analysis import anomalies
from sagascope_collector.client import schemas
from support.scenario import CASES, read

DOCUMENT = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text()
LINK = re.compile(r"\[case\]\(\.\./tests/scenarios/cases/(\w+)\.toml\)")


def expectations(name: str) -> list[dict[str, object]]:
    (path,) = [each for each in CASES if each.stem == name]
    return [dict(each) for each in read(path).expect]


def sections() -> dict[str, str]:
    """What stands under each heading."""
    headings = [*re.finditer(r"^#+ (.*)$", DOCUMENT, re.MULTILINE), None]
    return {one[1]: DOCUMENT[one.end() : two.start() if two else None] for one, two in pairwise(headings) if one}


@pytest.mark.parametrize("code", schemas.AttentionCode)
def test_every_reason_is_explained_with_an_example_and_how_to_tune_it(code: str) -> None:
    section = sections()[code]
    assert "*Tune" in section
    (example,) = LINK.findall(section)
    assert code in {each["attention"] for each in expectations(example)}


def test_every_anomaly_is_explained_with_an_example() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", sections()["Anomalies"], re.MULTILINE))
    assert list(rows) == list(anomalies.RULES)
    for code, row in rows.items():
        (example,) = LINK.findall(row)
        assert code in {found for each in expectations(example) for found in each["anomalies"]}
