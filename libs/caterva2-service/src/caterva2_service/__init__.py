"""Plumbing shared by the services of Caterva2. Knows HTTP, settings and the bus; does not know what a chunk is."""

from importlib.metadata import version

__version__ = version("caterva2-service")
