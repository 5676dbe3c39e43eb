"""`docs/dashboard.md` names what the code has."""

import re
from dataclasses import fields
from pathlib import Path

from sagascope_dashboard import DEFAULT_ADDRESS
from sagascope_dashboard.screens.sql import examples
from sagascope_dashboard.urls import WINDOWS, Filters

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "dashboard.md").read_text()


def test_every_filter_and_window_of_the_list_is_named() -> None:
    named = set(re.findall(r"`([a-z0-9_]+)`", TEXT))
    assert {field.name for field in fields(Filters)} <= named
    assert set(WINDOWS) <= named


def test_the_address_is_the_one_that_is_used() -> None:
    assert f"http://{DEFAULT_ADDRESS}" in TEXT


def test_every_screen_is_described() -> None:
    served = set(re.findall(r'url_path="(\w+)"', (ROOT / "dashboard/sagascope_dashboard/app.py").read_text()))
    assert all(f"/{path}" in TEXT for path in served)


def test_the_examples_of_the_sql_page_are_the_questions_of_its_document() -> None:
    text = (ROOT / "docs" / "sql.md").read_text()
    documented = re.findall(r"^### ([^\n]+\?)\n\n```sql\n(.*?)\n```", text, re.MULTILINE | re.DOTALL)
    assert list(examples().items())[: len(documented)] == documented
    assert [query for title, query in examples().items() if title not in dict(documented)] == [
        f"DESCRIBE {view}" for view in ("spans", "logs", "sagas")
    ]


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"images/[\w-]+\.png", TEXT)
    assert pictures
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
