"""Answers that report errors, as exceptions.

Code written for the original catches ``httpx.HTTPStatusError``; new code catches the classes of `caterva2.errors`.
What is raised here is both.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import httpx

from . import errors


class StatusError(httpx.HTTPStatusError):
    """A 3xx, 4xx or 5xx answer; each one raised is also of a class of `caterva2.errors`."""

    detail: str
    retry_after_s: float | None

    def __init__(self, message: str, *, error: errors.Caterva2Error, response: httpx.Response) -> None:
        httpx.HTTPStatusError.__init__(self, message, request=response.request, response=response)
        self.detail = error.detail
        self.retry_after_s = error.retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        request, response = self.request, self.response
        return _rebuild, (request.method, str(request.url), response.status_code, dict(response.headers), response.text)


def raise_for_status(response: httpx.Response) -> httpx.Response:
    """Return a successful answer, whose body was read; raise what an unsuccessful one reports.

    Raises
    ------
    StatusError
        Which is also the class of `caterva2.errors` that the service raised.
    """
    if response.is_success:
        return response
    raise status_error(response)


def status_error(response: httpx.Response) -> StatusError:
    """Return the exception for an unsuccessful answer, whose body was read."""
    error = errors.from_body(response.status_code, _body(response))
    error.retry_after_s = retry_after_s(response)
    kind = "Client error" if response.status_code < 500 else "Server error"
    if response.is_redirect:
        kind = "Redirect response"
        error.detail = f"the server has moved to {response.headers.get('location')}"
    status = f"{response.status_code} {response.reason_phrase}"
    message = f"{kind} '{status}' for url '{response.request.url}'"
    if error.detail not in (status, response.reason_phrase):
        message += f": {error.detail}"
    return _status_class(error.code)(message, error=error, response=response)


def retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds after which the service asks to be tried again. Dates are not used between our services."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _body(response: httpx.Response) -> object:
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        text = response.text.strip()
        return {"detail": text} if text and len(text) < 300 and not text.startswith("<") else None
    if isinstance(body, dict) and isinstance(body.get("detail"), list):
        body["detail"] = "; ".join(_validation(item) for item in body["detail"])
    return body


def _validation(item: Any) -> str:
    """Return one finding of a validation (status 422) as a phrase."""
    if not isinstance(item, dict):
        return str(item)
    where = ".".join(str(part) for part in item.get("loc", ())[1:])
    return f"{where}: {item.get('msg', item)}" if where else str(item.get("msg", item))


@cache
def _status_class(code: str) -> type[StatusError]:
    kind = errors.BY_CODE[code]
    return type(kind.__name__, (StatusError, kind), {"__doc__": kind.__doc__, "__module__": __name__})


def _rebuild(method: str, url: str, status: int, headers: dict[str, str], text: str) -> StatusError:
    headers.pop("content-encoding", None)
    return status_error(httpx.Response(status, headers=headers, text=text, request=httpx.Request(method, url)))
