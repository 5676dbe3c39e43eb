"""What every sample service stands on: the HTTP shell, its SQLite file, calls to the others, work done later."""

from sagascope_samples.chassis._app import Chassis, create_app, serve
from sagascope_samples.chassis._database import Database, Json, Transaction
from sagascope_samples.chassis._errors import Refused, Unavailable
from sagascope_samples.chassis._order import Order, read_order
from sagascope_samples.chassis._peers import CALL_BACK_HEADER, KEY_HEADER
from sagascope_samples.chassis._retry import retried
from sagascope_samples.chassis._settings import Settings

__all__ = [
    "CALL_BACK_HEADER",
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
