"""The one error tree of Caterva2.

Services raise these classes anywhere below HTTP; one table (`STATUS`) gives the status of the answer;
the client rebuilds the same class from the ``code`` in the body. A ``code`` is never renamed or reused.

::

    Caterva2Error
      BadRequest (ValueError)      400  InvalidName InvalidSlice InvalidField InvalidExpression
                                        ReadOnlyRoot QuotaExceeded NotAContainer WeakPassword
      NotAuthenticated             401
      PermissionDenied             403
      NotFound (KeyError)          404  RootNotFound DatasetNotFound ChunkNotFound UserNotFound
      Conflict                     409  RootTaken AlreadyExists
      VersionChanged               412
      TooLarge                     413
      RangeInvalid                 416
      UnsafeContent                422
      TooManyRequests              429
      Unavailable                  503  StorageFailed
      UpstreamInvalid              502
      UpstreamUnavailable          504
      StorageFull                  507
"""

from __future__ import annotations

from typing import Any, ClassVar


class Caterva2Error(Exception):
    """Base of every error that Caterva2 reports to people.

    Parameters
    ----------
    detail
        One sentence for the person who asked, without secrets and server paths.
    retry_after_s
        Seconds after which trying again makes sense, where that is known.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, detail: str = "Internal Server Error", *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.detail


class BadRequest(Caterva2Error, ValueError):
    """The request makes no sense as it is; asking again will not help."""

    code = "bad_request"
    status = 400


class InvalidName(BadRequest):
    """A root name or a path breaks the rules of `caterva2.paths`."""

    code = "invalid_name"


class InvalidSlice(BadRequest, IndexError):
    """A slice cannot be parsed or does not fit the shape."""

    code = "invalid_slice"


class InvalidField(BadRequest):
    """A field or filter does not fit the dtype of the dataset."""

    code = "invalid_field"


class InvalidExpression(BadRequest):
    """An expression is not in the allowed language or its operands do not fit."""

    code = "invalid_expression"


class ReadOnlyRoot(BadRequest):
    """The root cannot be modified through a subscriber."""

    code = "read_only_root"


class QuotaExceeded(BadRequest):
    """The write would exceed the quota of the user or of the site."""

    code = "quota_exceeded"


class NotAContainer(BadRequest):
    """The file is not of a kind that the operation can work on."""

    code = "not_a_container"


class WeakPassword(BadRequest):
    """A new password is too short or too easy to guess."""

    code = "weak_password"


class NotAuthenticated(Caterva2Error):
    """The request needs a login."""

    code = "not_authenticated"
    status = 401

    def __init__(self, detail: str = "Unauthorized", *, retry_after_s: float | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class PermissionDenied(Caterva2Error, PermissionError):
    """The principal is known and may not do this."""

    code = "permission_denied"
    status = 403


class NotFound(Caterva2Error, KeyError):
    """There is nothing under this name, or the reader may not know that there is."""

    code = "not_found"
    status = 404

    def __init__(self, detail: str = "Not Found", *, retry_after_s: float | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class RootNotFound(NotFound):
    """No root of this name is known."""

    code = "root_not_found"


class DatasetNotFound(NotFound):
    """The root has no dataset or file of this path."""

    code = "dataset_not_found"


class ChunkNotFound(NotFound, IndexError):
    """The dataset has no chunk of this number."""

    code = "chunk_not_found"


class UserNotFound(NotFound):
    """No user or group of this name is known."""

    code = "user_not_found"


class Conflict(Caterva2Error):
    """The request contradicts the present state."""

    code = "conflict"
    status = 409


class RootTaken(Conflict):
    """Another publisher holds the lease of this root."""

    code = "root_taken"


class AlreadyExists(Conflict):
    """Something of this name exists and is not to be replaced."""

    code = "already_exists"


class VersionChanged(Caterva2Error):
    """The dataset is no longer at the version that the request named."""

    code = "version_changed"
    status = 412


class TooLarge(Caterva2Error):
    """The request or its answer is larger than the service allows."""

    code = "too_large"
    status = 413


class RangeInvalid(Caterva2Error):
    """The byte range lies outside the file."""

    code = "range_invalid"
    status = 416


class UnsafeContent(Caterva2Error):
    """A file or chunk failed the checks that foreign bytes must pass."""

    code = "unsafe_content"
    status = 422


class TooManyRequests(Caterva2Error):
    """A limit of requests was reached; see ``retry_after_s``."""

    code = "too_many_requests"
    status = 429


class UpstreamInvalid(Caterva2Error):
    """The publisher answered with something that is not what it announced."""

    code = "upstream_invalid"
    status = 502


class Unavailable(Caterva2Error):
    """A part that this request needs is down; trying again later may help."""

    code = "unavailable"
    status = 503


class StorageFailed(Unavailable):
    """The storage of the service answered with an error."""

    code = "storage_failed"


class UpstreamUnavailable(Caterva2Error):
    """The publisher cannot be reached and the answer is not in the cache."""

    code = "upstream_unavailable"
    status = 504


class StorageFull(Caterva2Error):
    """There is no room left for what was sent."""

    code = "storage_full"
    status = 507


def _tree(base: type[Caterva2Error]) -> list[type[Caterva2Error]]:
    return [base, *(found for child in base.__subclasses__() for found in _tree(child))]


BY_CODE: dict[str, type[Caterva2Error]] = {error.code: error for error in _tree(Caterva2Error)}
"""Class of each ``code``."""


def to_body(error: Caterva2Error) -> dict[str, Any]:
    """Return the JSON body that reports `error`."""
    return {"detail": error.detail, "code": error.code}


def from_body(status: int, body: object) -> Caterva2Error:
    """Rebuild the error that `to_body` described.

    An unknown code, or a body of another service, gives the nearest class for the status.
    """
    detail = f"HTTP status {status}"
    code: object = None
    if isinstance(body, dict):
        code = body.get("code")
        given = body.get("detail")
        if given is not None:
            detail = given if isinstance(given, str) else str(given)
    error = BY_CODE.get(code) if isinstance(code, str) else None
    if error is None:
        error = next((known for known in BY_CODE.values() if known.status == status), Caterva2Error)
    return error(detail)
