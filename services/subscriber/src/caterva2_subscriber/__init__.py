"""Subscriber of Caterva2: follows roots, caches chunks, and serves people."""

from importlib.metadata import version

__version__ = version("caterva2-subscriber")
