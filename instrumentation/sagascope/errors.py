"""The exception tree.

Sagascope raises only while it is set up, or while a saga is declared. Inside a saga nothing of ours is raised.

    SagascopeError
    ├── MissingExtra      an optional dependency is not installed; the message says what to install
    ├── PlanInvalid       a declared saga contradicts itself
    └── SettingInvalid    a setting has a value that cannot be used
"""


class SagascopeError(Exception):
    """Base of everything that Sagascope raises on its own account."""


class MissingExtra(SagascopeError, ImportError):
    """A part needs packages that are not installed. The message holds the exact install command."""

    def __init__(self, what: str, extra: str = "otlp") -> None:
        super().__init__(f'{what} needs packages that are not installed. Run: pip install "sagascope[{extra}]"')


class PlanInvalid(SagascopeError, ValueError):
    """A declared saga contradicts itself: two steps of one name, or a step that waits for one that is not there."""


class SettingInvalid(SagascopeError, ValueError):
    """A setting has a value that cannot be used, for example an endpoint that is no http address."""
