"""Starts everything on this machine, plays the story, and says what was found of it."""

from sagascope_samples.demo.addresses import LISTENERS, SERVICES, Address, Addresses, CannotStart
from sagascope_samples.demo.play import Options, play

__all__ = ["LISTENERS", "SERVICES", "Address", "Addresses", "CannotStart", "Options", "play"]
