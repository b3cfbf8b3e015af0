"""Broker of Caterva2: who may publish which root, and where the bus is."""

from importlib.metadata import version

__version__ = version("caterva2-broker")
