"""Erasure of sagas by a business key."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.client.schemas.base import Wire
from sagascope_collector.client.schemas.sagas import SagaStatus


class Forget(BaseModel):
    """Which sagas are to be forgotten: those with a business key of this value."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=4_096)]
    value: Annotated[str, Field(min_length=1, max_length=4_096)]
    environment: Annotated[str, Field(max_length=4_096)] | None = None


class ForgottenSaga(Wire):
    """A saga that is to be forgotten, or was."""

    environment: str
    name: str
    id: str
    run: str
    status: SagaStatus


class Forgotten(Wire):
    """What was forgotten, or would be.

    `records` is how many spans and log records went, null when nothing was removed; `items` are the first 50 sagas;
    `backups` are the places of backups that may hold them, as far as is known: those were not changed.
    """

    sagas: int
    records: int | None
    items: list[ForgottenSaga]
    backups: list[str]
