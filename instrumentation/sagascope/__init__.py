"""Sagascope: what a service embeds to show its sagas."""

from sagascope._version import __version__

__all__ = ["__version__"]
