"""A second publisher in the same directory, started as the first was: ``cat2pub bar other.h5``.

Without ``--id`` and ``--statedir`` both would use the same state directory and port, which the first one holds. The
second then takes a state directory of its root's name and the next free port, and says so.
"""

from __future__ import annotations

from pathlib import Path

from caterva2_service.address import Address
from caterva2_service.serve import StartupError, listen, locked

from .settings import PublisherSettings

_DEFAULT_STATEDIR = Path(PublisherSettings.default_statedir)
_SUBSCRIBER_PORT = 8002
"""Default port of a subscriber, which is likely to be started next."""


def beside_another(settings: PublisherSettings) -> PublisherSettings:
    """Return settings with which the publisher can run beside another one that has the defaults.

    They are `settings` unless those name no state directory of their own and another process holds the default one.
    """
    if settings.id is not None or settings.statedir != _DEFAULT_STATEDIR or not _in_use(settings.statedir):
        return settings
    statedir = _DEFAULT_STATEDIR.with_name(f"{_DEFAULT_STATEDIR.name}.{settings.name}")
    return settings.model_copy(update={"statedir": statedir, "http": _free_from(settings.http)})


def _in_use(statedir: Path) -> bool:
    if not statedir.exists():
        return False
    try:
        with locked(statedir):
            return False
    except StartupError:
        return True


def _free_from(address: Address) -> Address:
    """Return `address`, or the next one with a free port."""
    if address.uds is not None:
        return address
    for port in range(address.port, 65536):
        candidate = Address(address.host, port)
        if port != _SUBSCRIBER_PORT and _is_free(candidate):
            return candidate
    return address


def _is_free(address: Address) -> bool:
    try:
        sockets = listen(address)
    except OSError:
        return False
    for sock in sockets:
        sock.close()
    return True
