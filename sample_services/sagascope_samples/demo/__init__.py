"""The demo: starts everything on this machine, plays a scenario with faults, and reports what the collector found."""

from sagascope_samples.demo.addresses import LISTENERS, SERVICES, Address, Addresses, CannotStart
from sagascope_samples.demo.play import ENGINES, Options, play

__all__ = ["ENGINES", "LISTENERS", "SERVICES", "Address", "Addresses", "CannotStart", "Options", "play"]
