"""What every sample service shares: the HTTP app, its SQLite file, calls to the other services, and callbacks."""

from sagascope_samples.chassis._app import Chassis, Settings, create_app, serve
from sagascope_samples.chassis._calls import (
    CALLBACK_HEADER,
    KEY_HEADER,
    Order,
    Refused,
    Unavailable,
    read_order,
    retried,
)
from sagascope_samples.chassis._database import Database, Json, Transaction

__all__ = [
    "CALLBACK_HEADER",
    "KEY_HEADER",
    "Chassis",
    "Database",
    "Json",
    "Order",
    "Refused",
    "Settings",
    "Transaction",
    "Unavailable",
    "create_app",
    "read_order",
    "retried",
    "serve",
]
