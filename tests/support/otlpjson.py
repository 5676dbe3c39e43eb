"""Writes OTLP's JSON form, as exporters do."""

import json
from base64 import b64decode
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

IDS = {"traceId", "spanId", "parentSpanId"}


def write_json(message: Message) -> bytes:
    """A message in OTLP's JSON: ids in hex, enums as numbers."""
    return json.dumps(_with_hex_ids(MessageToDict(message, use_integers_for_enums=True))).encode()


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(each) for each in value]
    if isinstance(value, dict):
        return {key: b64decode(each).hex() if key in IDS else _with_hex_ids(each) for key, each in value.items()}
    return value
