"""SQL queries of users: validation, execution and results."""

from sagascope_collector.sql.queries import Answer, Queries

__all__ = ["Answer", "Queries"]
