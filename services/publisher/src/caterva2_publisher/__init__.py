"""Publisher of Caterva2: serves one root of Blosc2 and HDF5 datasets and announces its changes."""

from importlib.metadata import version

__version__ = version("caterva2-publisher")
