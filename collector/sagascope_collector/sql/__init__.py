"""SQL queries of users: validation, execution and results."""

from sagascope_collector.sql.queries import Answer as Answer, Queries as Queries
