"""Following roots: what the broker knows, what publishers announce, and how fresh the catalogue is."""

from .changes import Changes
from .tracker import Tracking

__all__ = ["Changes", "Tracking"]
