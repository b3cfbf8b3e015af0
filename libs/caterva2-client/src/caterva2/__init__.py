"""Client of Caterva2: read slices of n-dimensional datasets that other sites publish."""

from importlib.metadata import version

__version__ = version("caterva2-client")
