"""What a test needs and may not find: said loudly, and a failure where everything must run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def require_all() -> bool:
    """Tell whether a test that cannot run is a failure (``CATERVA2_REQUIRE_ALL=1``, as CI sets it)."""
    return os.environ.get("CATERVA2_REQUIRE_ALL", "") not in ("", "0")


def missing(reason: str) -> NoReturn:
    """End the present test because it cannot run here."""
    if require_all():
        pytest.fail(f"CATERVA2_REQUIRE_ALL is set, and {reason}", pytrace=False)
    pytest.skip(f"NOT RUN: {reason}")


def require(condition: object, reason: str) -> None:
    """End the present test unless `condition` holds; `reason` says what is missing."""
    if not condition:
        missing(reason)
