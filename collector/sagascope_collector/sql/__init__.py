"""Queries of users in SQL: what they may say, and how they are run and answered."""

from sagascope_collector.sql.queries import Answer, Queries

__all__ = ["Answer", "Queries"]
