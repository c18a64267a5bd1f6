"""Netvane: a weather vane for home networks."""

__version__ = "0.1.0"
