"""How commands print: text for people, pure JSON for programs."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as one JSON document; what JSON lacks (NaN, bytes, dates, complex numbers) becomes null or text."""
    print(json.dumps(plain(value), allow_nan=False, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Return a value made of what JSON has."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def print_pretty(value: Any) -> None:
    """Print a Python value in colours on a terminal, as plain text elsewhere."""
    try:
        from rich import print as rich_print
    except ImportError:
        from pprint import pprint

        pprint(value, sort_dicts=False)  # noqa: T203
    else:
        rich_print(value)


def human_size(nbytes: float) -> str:
    """Return a size with a binary unit, like ``7.81 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(nbytes) < 1024 or unit == "TiB":
            break
        nbytes /= 1024
    return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.2f} {unit}"


def say(args: argparse.Namespace, value: Any, sentence: str) -> None:
    """Print `value` for programs, or `sentence` for people."""
    if args.json:
        print_json(value)
    else:
        print(sentence)
