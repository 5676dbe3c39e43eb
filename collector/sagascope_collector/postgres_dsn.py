"""DSNs of PostgreSQL, checked so that no error quotes a password: libpq quotes what it cannot parse or resolve."""

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sagascope_collector.errors import BadValue


def dsn_parameters(dsn: str, option: str) -> dict[str, str]:
    """Returns the parameters of a DSN, by their names in libpq.

    Args:
        dsn: a URL or key-value pairs.
        option: the command-line option, for the error message.

    Raises:
        BadValue: the DSN cannot be parsed, or a part of its password would be taken for another parameter. The message
            does not quote it.
    """
    try:
        parameters = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # its message may contain the password
        raise BadValue(f"{option} is neither a URL nor key-value pairs such as host=db-1 dbname=shop.") from None
    found = {name: str(value) for name, value in parameters.items() if value is not None}
    if "://" in dsn and any("@" in found.get(name, "") for name in ("host", "port", "dbname")):
        raise BadValue(f"{option} has a special character in its user or password. Write @ as %40 and / as %2F.")
    return found
