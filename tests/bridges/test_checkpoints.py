"""A checkpoint that another version wrote is refused: taken for a new one, rows and runs would be lost."""

import pytest
from pydantic import ValidationError

from sagascope_collector.bridges.tables import rows
from sagascope_collector.bridges.temporal import telemetry


def test_a_table_checkpoint_with_unknown_fields_is_refused() -> None:
    with pytest.raises(ValidationError):
        rows.Checkpoint.model_validate(
            {"database": "pg/1", "tables": {"orders": {"has_begun": True, "is_settled": True}}}
        )


def test_a_temporal_checkpoint_with_unknown_fields_is_refused() -> None:
    with pytest.raises(ValidationError):
        telemetry.Checkpoint.model_validate({"looked": {"default": 1}, "ended": {}})
