"""What is recommended for a saga follows from the record of its attention code, as docs/incidents.md says."""

import re
from pathlib import Path

import pytest

from sagascope_collector.alerting.rules import DEFAULT_RULES
from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.analysis.model import Phase
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.incidents import RecommendedAction, recommended_action
from support.scenario import CASES, read
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND

DOCS = Path(__file__).parents[3] / "docs"
RESUME, COMPENSATE, VERIFY_FIRST = RecommendedAction

RECOMMENDED = {
    AttentionCode.APPLIED_TWICE: ({VERIFY_FIRST}, {VERIFY_FIRST}),
    AttentionCode.COMPENSATION_FAILED: (set(), {COMPENSATE, VERIFY_FIRST}),
    AttentionCode.UNCOMPENSATED: (set(), {COMPENSATE, VERIFY_FIRST}),
    AttentionCode.MIXED_OUTCOME: ({VERIFY_FIRST}, {VERIFY_FIRST}),
    AttentionCode.IN_DOUBT: ({VERIFY_FIRST}, {VERIFY_FIRST}),
    AttentionCode.BLOCKED: ({RESUME, VERIFY_FIRST}, {RESUME, VERIFY_FIRST}),
    AttentionCode.INSTANCE_LOST: ({RESUME, VERIFY_FIRST}, {COMPENSATE, VERIFY_FIRST}),
    AttentionCode.RETRYING: ({RESUME, VERIFY_FIRST}, {RESUME, VERIFY_FIRST}),
    AttentionCode.HUNG: ({RESUME, VERIFY_FIRST}, {COMPENSATE, VERIFY_FIRST}),
    AttentionCode.NEXT_STEP_MISSING: ({RESUME, VERIFY_FIRST}, {COMPENSATE, VERIFY_FIRST}),
    AttentionCode.NEVER_CLOSED: ({RESUME, VERIFY_FIRST}, {RESUME, VERIFY_FIRST}),
}
"""What may be recommended for each code in the forward phase, and in that of compensation."""

Recommended = dict[AttentionCode, set[tuple[Phase, RecommendedAction]]]


@pytest.fixture(scope="module")
def recommended() -> Recommended:
    """What is recommended in the cases of each code."""
    found: Recommended = {}
    for case in map(read, CASES):
        now = STARTED + round(case.now * SECOND)
        facts = seen(case.delivered(), case.now).facts(case.saga["id"])
        for saga in rebuild(facts, now):
            diagnosis = diagnose(saga, facts.instances, Context(now, step_timeouts=case.step_timeouts))
            if verdict := diagnosis.verdict:
                found.setdefault(verdict.reason, set()).add((verdict.phase, recommended_action(saga, diagnosis)))
    return found


@pytest.mark.parametrize("code", AttentionCode)
def test_only_what_its_record_allows_is_recommended(code: AttentionCode, recommended: Recommended) -> None:
    forward, compensation = RECOMMENDED[code]
    allowed = {(Phase.FORWARD, each) for each in forward} | {(Phase.COMPENSATION, each) for each in compensation}
    assert recommended[code] <= allowed


def test_the_guide_has_a_row_for_every_code_by_its_remedy() -> None:
    section = (DOCS / "incidents.md").read_text().partition("| attention code |")[2]
    rows = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| (`\w+`[^|]*)\|", section, re.MULTILINE)]
    remedies = {code.remedy for code in AttentionCode}
    by_remedy = [{code.value for code in AttentionCode if code.remedy == remedy} for remedy in remedies]
    assert sorted(map(sorted, rows)) == sorted(map(sorted, by_remedy))


def test_money_at_risk_notifies_and_the_guide_names_its_codes() -> None:
    codes = [code.value for code in AttentionCode if code.risks_money]
    (rule,) = (each for each in DEFAULT_RULES if each.name == "money is at risk")
    assert list(rule.match.reason or ()) == codes
    assert codes == ["applied_twice", "compensation_failed", "uncompensated", "mixed_outcome", "in_doubt"]
    guide = (DOCS / "alerts.md").read_text()
    assert f"reason: [{', '.join(codes)}]" in guide
    assert f"money is at risk\n({', '.join(f'`{code}`' for code in codes)})" in guide
