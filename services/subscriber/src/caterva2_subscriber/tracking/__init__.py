"""Following roots: what the broker knows, what publishers announce, and how fresh the catalogue is."""

from .changes import Changes
from .tracker import FOLLOW_ALL, Tracking

__all__ = ["FOLLOW_ALL", "Changes", "Tracking"]
