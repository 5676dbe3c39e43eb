"""The demo: starts everything on this machine, plays a scenario with faults, and reports what the collector found."""

from sagascope_samples.demo.play import ENGINES, Options, play
from sagascope_samples.demo.supervisor import LISTENERS, SERVICES, Address, Addresses, CannotStart

__all__ = ["ENGINES", "LISTENERS", "SERVICES", "Address", "Addresses", "CannotStart", "Options", "play"]
