"""What blocking and asynchronous clients have in common."""

from __future__ import annotations

from typing import Any

from ._address import PathLike, check_urlbase, quote_path
from ._auth import Auth, TokenAuth, check_auth
from ._transport import Session
from .paths import SPECIAL_ROOTS


class BaseClient:
    """Address, credentials and patience of a client."""

    def __init__(self, urlbase: str, auth: Auth, timeout: float | None) -> None:
        self._session = Session(check_urlbase(urlbase), check_auth(auth), timeout)
        self._followed: set[str] = set(SPECIAL_ROOTS)

    def __reduce__(self) -> tuple[Any, ...]:
        # What goes to other processes is the session, never the password.
        auth = self._session.auth if isinstance(self._session.auth, TokenAuth) else None
        return _again, (type(self), self.urlbase, auth, self.timeout, self.cookie)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.urlbase}>"

    @property
    def urlbase(self) -> str:
        """Base of the subscriber's URLs, without a slash at its end."""
        return self._session.urlbase

    @property
    def cookie(self) -> str | None:
        """Session cookie as ``name=value``, or None for anonymous clients."""
        return self._session.cookie

    @cookie.setter
    def cookie(self, cookie: str | None) -> None:
        self._session.cookie = cookie

    @property
    def timeout(self) -> float | None:
        """Seconds of silence after which a request is given up."""
        return self._session.timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        self._session.timeout = timeout

    def get_download_url(self, path: PathLike) -> str:
        """Return the URL of a whole dataset or file, as a Blosc2 frame."""
        return f"{self.urlbase}/api/fetch/{quote_path(path)}"


def _again(kind: Any, urlbase: str, auth: Auth, timeout: float | None, cookie: str | None) -> Any:
    """Make a client in another process."""
    client = kind(urlbase, auth, timeout)
    client.cookie = cookie
    return client


def check_subscribed(root: str, answer: Any) -> None:
    """Raise ValueError unless the subscriber agreed to follow a root."""
    if answer != "Ok":
        raise ValueError(f"Could not subscribe to root {root}: {answer}")


def uploaded(localpath: Any, dataset: Any, local_dset: Any, remotepath: Any) -> tuple[Any, Any]:
    """Return what to upload and where to, by the names that the arguments had in any release of the original."""
    content = local_dset if localpath is None else localpath
    target = remotepath if dataset is None else dataset
    if content is None:
        raise TypeError("upload() needs what to send: a path of a local file, bytes or an array")
    return content, target
