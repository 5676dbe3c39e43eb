"""Files of rules, as a person meets them who wrote one wrongly."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, field_validator

from sagascope_collector import config_file
from sagascope_collector.errors import BadRules, CannotStart


class Rule(BaseModel):
    step: str
    seconds: float = Field(default=1.0, gt=0)
    mode: bool | None = None

    @field_validator("step")
    @classmethod
    def _not_empty(cls, step: str) -> str:
        if not step:
            raise ValueError("names no step")
        return step


class Rules(BaseModel):
    title: str = ""
    rules: list[Rule] = []
    by_name: dict[str, Rule] = {}


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadRules) as caught:
        config_file.read(path, Rules)
    assert isinstance(caught.value, CannotStart)
    return str(caught.value).replace(f"{path}:", "").replace(str(path), "FILE").splitlines()


def read(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return config_file.read(path, Rules)


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    read_rules = read(tmp_path, "title: 'no'\nrules:\n  - step: book\n    seconds: 2\n  - {step: '7', mode: true}\n")
    assert read_rules == Rules(title="no", rules=[Rule(step="book", seconds=2), Rule(step="7", mode=True)])


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "\ufeff{}", "---\n...\n"])
def test_an_empty_file_is_an_empty_mapping(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Rules()


@pytest.mark.parametrize("text", ["no", "on", "12:30:00", "2026-01-01", "0x1F", "=", "<<"])
def test_ambiguous_scalars_are_text(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"title: {text}\n").title == text


def test_all_errors_are_reported_at_once_by_line_and_key(tmp_path: Path) -> None:
    text = """\
title: 7
rules:
  - step: book
    secnods: 3
  - seconds: -1
    mode: perhaps
  - step: ""
    step: again
by_name:
  a.b: {step: [1]}
colour: red
"""
    assert faults(tmp_path, text) == [
        "1: title: should be a valid string",
        "4: rules[0].secnods: is not a known key",
        "5: rules[1].seconds: should be greater than 0",
        "5: rules[1].step: is missing",
        "6: rules[1].mode: should be a valid boolean, unable to interpret input",
        "7: rules[2].step: names no step",
        "8: rules[2].step: is a duplicate of line 7",
        "10: by_name.a.b.step: should be a valid string",
        "11: colour: is not a known key",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: [", "1: this is not YAML: expected the node content, but found '<stream end>'"),
        ("title: a\n\ttab: b\n", "2: this is not YAML: found character '\\t' that cannot start any token"),
        ("title: a\n---\ntitle: b\n", "2: this is not YAML: but found another document"),
        ("title: a\nrules: \x00\n", "2: this is not YAML: it has a character that is not allowed in text"),
        (b"title: a\nrules: \xff\n", "2: this is not UTF-8"),
        ("title: &a b\n", "1: anchors and aliases are not supported; repeat the value"),
        ("title: a\nrules: *a\n", "2: anchors and aliases are not supported; repeat the value"),
        ("title: !!python/object/apply:os.system [true]\n", "1: tags are not supported"),
        ("[" * 100_000, "1: nested deeper than 50 levels"),
        ("- a\n- b\n", "1: should be a mapping of keys to values"),
        ("? [a]\n: b\n", "1: a key must be plain text"),
        ("title: " + "9" * 5000, "1: title: should be a valid string"),
    ],
)
def test_syntax_errors_name_their_line(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert faults(tmp_path, text) == [told]


def test_errors_and_file_size_are_limited(tmp_path: Path) -> None:
    told = faults(tmp_path, "".join(f"k{number}: 1\n" for number in range(500)))
    assert len(told) == config_file.MAX_LISTED_ERRORS + 1
    assert told[-1].endswith("and 480 more")
    assert faults(tmp_path, "#" * (config_file.MAX_FILE_BYTES + 1)) == ["FILE is larger than 1024 KiB."]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match=r"none\.yaml cannot be read: No such file"):
        config_file.read(tmp_path / "none.yaml", Rules)
