"""Starts everything on this machine, plays the story, and says what was found of it."""

from sagascope_samples.demo.addresses import LISTENERS, SERVICES, Address, Addresses, CannotStart
from sagascope_samples.demo.play import Options, play
from sagascope_samples.demo.stages import ENGINES

__all__ = ["ENGINES", "LISTENERS", "SERVICES", "Address", "Addresses", "CannotStart", "Options", "play"]
