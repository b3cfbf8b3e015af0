"""Requests made from an OpenAPI document, and what is wrong with the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from hypothesis import HealthCheck, given, settings
from schemathesis import openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

_LONG = settings.get_current_profile_name() == "long"
"""Whether to look for what nobody has found yet; otherwise each run asks the same."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class Fuzz:
    """Asks a service whatever fits its OpenAPI document, and compares the answers with it.

    Parameters
    ----------
    url
        Base URL of the service.
    callers
        Headers of those who ask, one after the other.
    endless
        Paths whose answers do not end.
    """

    def __init__(
        self, url: str, callers: Sequence[Mapping[str, str]] = ({},), *, endless: Collection[str] = ()
    ) -> None:
        self.failures: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.operations = 0
        for found in openapi.from_url(f"{url}/openapi.json").get_all_operations():
            operation = found.ok()
            if operation.path not in endless:
                self.operations += 1
                self._ask(operation, callers)

    def _ask(self, operation, callers: Sequence[Mapping[str, str]]) -> None:  # type: ignore[no-untyped-def]
        @settings(
            max_examples=100 if _LONG else 4,
            derandomize=not _LONG,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case) -> None:  # type: ignore[no-untyped-def]
            for headers in callers:
                response = case.call(headers=dict(headers), timeout=60)
                self.statuses[response.status_code] += 1
                try:
                    case.validate_response(response, checks=CHECKS)
                except FailureGroup as group:
                    asked = f"{case.method} {response.request.url} {response.request.body!r}"[:300]
                    told = "; ".join(str(each).split("Reproduce")[0] for each in group.exceptions)
                    self.failures.append(f"{asked}\n{response.status_code}: {told[:600]}")

        ask()
