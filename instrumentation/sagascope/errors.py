"""The exception tree.

Sagascope raises errors only while it is configured and while sagas are declared, never inside a saga.

    SagascopeError
    ├── MissingExtra      an optional dependency is not installed
    ├── PlanInvalid       the plan of a saga is invalid
    └── SettingInvalid    a setting is unknown or has an invalid value
"""


class SagascopeError(Exception):
    """Base class of all errors that Sagascope raises."""


class SagascopeWarning(UserWarning):
    """A call that cannot have been meant: a step outside the plan, an empty id, an amount that is not a number.

    Nothing is raised, unless the filter ``error::sagascope.SagascopeWarning`` of `warnings` asks for it, in tests.
    """


class MissingExtra(SagascopeError, ImportError):
    """A feature needs packages that are not installed. The message contains the exact install command."""

    def __init__(self, feature: str, extra: str = "otlp", *, package: str | None = None) -> None:
        needed = package or f'"sagascope[{extra}]"'
        checkout = "" if package else f' (from a checkout: pip install "/path/to/sagascope[{extra}]")'
        super().__init__(f"{feature} needs packages that are not installed. Run: pip install {needed}{checkout}")


class PlanInvalid(SagascopeError, ValueError):
    """The plan of a saga is invalid: two steps have the same name, or a step waits for one that is not in the plan."""


class SettingInvalid(SagascopeError, ValueError):
    """A setting is unknown or has an invalid value, for example an endpoint that is not an http address."""
