"""The one place that turns errors into HTTP answers."""

from __future__ import annotations

import errno
import math
import sqlite3

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from caterva2 import errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def answer(error: errors.Caterva2Error) -> Response:
    """Return the answer that reports `error`: its status, ``detail`` and ``code``, and when to try again."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return JSONResponse(errors.to_body(error), error.status, headers)


def of_os_error(error: OSError) -> errors.Caterva2Error:
    """Say what an error of the file system means to the person who asked. Server paths are left out."""
    if error.errno in _FULL:
        return errors.StorageFull("There is no room left on the storage of this service")
    return errors.StorageFailed("The storage of this service answered with an error", retry_after_s=5)


def of_sqlite_error(error: sqlite3.OperationalError) -> errors.Caterva2Error:
    """Say the same of an error of a database in a file of this service."""
    # The least significant byte is the primary code, the others tell details.
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
        return errors.StorageFull("There is no room left on the storage of this service")
    return errors.StorageFailed("The storage of this service answered with an error", retry_after_s=5)


def install(app: FastAPI) -> None:
    """Let `app` report every `Caterva2Error`. Other exceptions are answered by the request middleware."""

    async def report(_request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.Caterva2Error)
        return answer(error)

    app.add_exception_handler(errors.Caterva2Error, report)
