"""Settings of the publisher: sections ``[publisher]`` and ``[publisher.ID]``."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ByteSize, Field, field_validator

from caterva2.paths import SPECIAL_ROOTS, check_root
from caterva2_service.address import ANY_HOST, Address
from caterva2_service.settings import Option, ServiceSettings

_ANY = frozenset({ANY_HOST, "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class PublisherSettings(ServiceSettings):
    """What can be set for a publisher."""

    default_statedir: ClassVar[str] = "_caterva2/pub"

    http: Annotated[Address, Option("address to listen at: HOST:PORT or the path of a socket")] = Address(
        "localhost", 8001
    )
    broker: Annotated[Address, Option("address of the broker", toml="broker.http")] = Address("localhost", 8000)
    name: Annotated[str, Option("name under which the root is published", positional=True)]
    root: Annotated[Path, Option("directory or HDF5 file to publish (default: data)", positional=True)] = Path("data")
    advertise: Annotated[str | None, Option("address at which subscribers reach this publisher (default: --http)")] = (
        None
    )
    description: Annotated[str | None, Option("one line about the root, shown to people")] = None
    access: Annotated[str | None, Option("who may read by default: public, users or group:NAME")] = None
    settle: Annotated[float, Option("seconds without a change after which a file counts as written", cli=False)] = (
        Field(default=0.2, ge=0, le=3600)
    )
    poll: Annotated[float, Option("seconds between two walks of the whole root", cli=False)] = Field(
        default=60.0, ge=0.1, le=86400
    )
    chunk_cache: Annotated[
        ByteSize, Option("disk space for chunks that are compressed when read (HDF5, plain files)", cli=False)
    ] = Field(default=ByteSize(2**30), ge=0)
    pyramid_cache: Annotated[
        ByteSize, Option("disk space for pictures of large arrays at lower resolutions", cli=False)
    ] = Field(default=ByteSize(2**29), ge=0)
    open_access: Annotated[
        bool, Option("answer anybody who reaches the address, not only subscribers that the broker admitted")
    ] = False
    confirm_removals: Annotated[
        bool, Option("believe at the start that whatever is missing was removed, however much it is")
    ] = False

    @field_validator("name")
    @classmethod
    def _publishable(cls, name: str) -> str:
        if name in SPECIAL_ROOTS:
            raise ValueError(f"'{name}' is a root of subscribers and cannot be published")
        return check_root(name)

    @field_validator("access")
    @classmethod
    def _known_access(cls, access: str | None) -> str | None:
        if access in (None, "public", "users") or (access.startswith("group:") and len(access) > len("group:")):
            return access
        raise ValueError(f"'{access}' is not public, users or group:NAME")

    @property
    def address(self) -> str:
        """Address that is told to subscribers."""
        if self.advertise is not None:
            return self.advertise
        if self.http.uds is not None:
            return str(Path(self.http.uds).absolute())
        if self.http.host in _ANY:
            return str(Address(socket.getfqdn(), self.http.port))
        return str(self.http)
