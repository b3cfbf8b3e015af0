"""Settings of a subscriber: section ``[subscriber]`` or ``[subscriber.ID]`` of ``caterva2.toml``.

Precedence: command line, environment (``CATERVA2_*``), file, default. A wrong or unknown setting stops the start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyNetwork, SecretStr, model_validator

from caterva2_service.cores import usable_cores
from caterva2_service.outbound import OutboundRules
from caterva2_service.settings import Address, Option, ServiceSettings

from .auth.settings import AuthSettings, MailSettings

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([KMGT]?)(?:i?B)?\s*\Z", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(value: Any) -> Any:
    """Return the bytes that ``"10G"`` or ``"1.5 MB"`` stand for; units are powers of 1024.

    Raises
    ------
    ValueError
        If the text is not a size.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.match(value)
    if match is None:
        raise ValueError(f"'{value}' is not a size such as 500M or 10G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
"""Bytes; texts may use the units K, M, G and T."""


class StalePolicy(StrEnum):
    """What readers get while a root's publisher cannot be reached."""

    SERVE = "serve-stale"
    """What is known and cached, with a header that says how old it is."""
    REFUSE = "refuse"
    """An error."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CacheSettings(_Section):
    """Section ``[cache]``: chunks kept on the subscriber's disk."""

    size: Size = 10 * 2**30
    """Bytes on disk that chunks may take; 0 keeps nothing."""
    low_water: float = Field(default=0.9, gt=0, le=1)
    """Fraction of `size` down to which the least recently used chunks are evicted once `size` is reached."""
    shares: dict[str, Size] = Field(default_factory=dict)
    """Bytes that are guaranteed to a root: while it holds no more, others do not evict its chunks."""
    directory: Path | None = None
    """Where chunks are kept; ``cache`` in the state directory by default."""

    @property
    def low_bytes(self) -> int:
        """Bytes that are left after an eviction."""
        return int(self.size * self.low_water)


class SpacesSettings(_Section):
    """Section ``[spaces]``: users' files, ``@public``, ``@shared`` and ``@personal``."""

    directory: Path | None = None
    """Where they are kept; the state directory by default. Subscribers that serve the same people share it."""


class LoadSettings(_Section):
    """Section ``[load_from_url]``: what users may let this subscriber download."""

    hosts: tuple[str, ...] = ()
    """Hosts from which files are loaded, as ``data.example.org``, ``data.example.org:8443``, or ``*.example.org`` for
    all below a domain. None of them: nothing is loaded from URLs."""
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks that may be reached although they are private, this machine, or its link."""
    plain: bool = False
    """Whether ``http://`` will do."""
    size: Size = 10 * 2**30
    """Largest file, in bytes."""
    silence_timeout_s: float = Field(default=20.0, gt=0)
    time_s: float = Field(default=3600.0, gt=0)
    """Seconds that a file may take at most."""


class UpstreamSettings(_Section):
    """Section ``[upstream]``: how publishers are asked for chunks."""

    connect_timeout_s: float = Field(default=5.0, gt=0)
    silence_timeout_s: float = Field(default=20.0, gt=0)
    """Seconds without a single byte after which an answer counts as lost; a slow link is not a lost one."""
    concurrency: int = Field(default=6, ge=1, le=64)
    """Requests in flight to one publisher."""
    batch_bytes: Size = 8 * 2**20
    """Compressed bytes that one request asks for, about."""
    parts: Size = 16 * 2**20
    """Bytes of memory, in each process, for single blocks of large chunks, which small windows fetch instead of the
    chunk; 0 fetches whole chunks only."""
    parts_from: Size = 256 * 2**10
    """Compressed bytes of a chunk from which on it is large: a smaller one takes little longer than a round trip."""
    attempts: int = Field(default=3, ge=1, le=10)
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks in which publishers are reached although they mean this machine or its link: loopback, link-local
    (169.254/16), unique local IPv6. Loopback is allowed by itself where the broker is on this machine."""
    deny: tuple[IPvAnyNetwork, ...] = ()
    """Networks in which publishers are never reached."""
    require_tls: bool = False
    """Whether publishers are reached by https alone."""


class ShareSettings(_Section):
    """Section ``[share]``: what one user, or one address without a login, may take of each process (A17)."""

    requests: int = Field(default=100, ge=0)
    """Requests that are answered at the same time; further ones wait in turn. 0 for any number."""
    waiting: int = Field(default=500, ge=0)
    """Requests that may wait; further ones are answered 429."""
    patience_s: float = Field(default=30.0, gt=0)
    """Seconds that a request waits at most."""
    streams: int = Field(default=100, ge=1)
    """Places at which changes are followed (``/api/events``)."""
    bytes_per_minute: Annotated[Size, Field(gt=0)] | None = None
    """Bytes that are sent and received in a minute on average; who has moved more is answered 429 until they are made
    up for. What has begun is finished. None for any number."""


class DatabaseSettings(_Section):
    """Section ``[database]``: people, rights and subscriptions."""

    url: SecretStr | None = None
    """``postgresql+asyncpg://...``; SQLite in the state directory by default."""
    migration_url: SecretStr | None = None
    """The same database by the role that owns the tables, for ``--migrate`` alone.
    It makes the role of `url`, which then needs no right to change tables."""


class _Registration:
    # Not in the model itself: pydantic warns of a field that has the name of a method, here of ABCMeta.
    register: Annotated[bool, Option(cli=False)] = False
    """Whether visitors may make accounts themselves."""


class SubscriberSettings(ServiceSettings, _Registration):
    """Settings of one subscriber."""

    default_statedir: ClassVar[str] = "_caterva2/sub"
    synonyms: ClassVar[Mapping[str, str]] = {"listen": "http"}
    foreign_keys: ClassVar[frozenset[str]] = frozenset({"url"})

    http: Annotated[Address, Option("address to listen at: HOST:PORT or the path of a socket")] = Address(
        "localhost", 8002
    )
    broker: Annotated[Address | None, Option("address of the broker", toml="broker.http")] = None
    """Without a broker the subscriber serves its own roots alone."""
    urlbase: Annotated[str, Option("base of every generated link")] = "http://localhost:8002"
    """A path in it is the prefix behind a reverse proxy."""
    quota: Annotated[Size | None, Option(cli=False)] = None
    """Bytes that users' files may take; None for no limit."""
    maxusers: Annotated[int | None, Option(cli=False), Field(ge=0)] = None
    """Number of accounts; None or 0 for no limit."""
    jupyterlite: Annotated[
        str | None, Option(cli=False), Field(pattern=r"^(https?://|/)[^\s\"<>]+$", max_length=1000)
    ] = None
    """Where people open notebooks: a JupyterLite with the extension ``jupyterlab-open-url-parameter`` on this host."""
    login: Annotated[bool, Option(cli=False)] = True
    demo: Annotated[bool, Option(cli=False)] = False
    secret: Annotated[SecretStr | None, Option(cli=False)] = None
    """Signs what users are given; from the environment (``CATERVA2_SECRET``)."""
    follow: Annotated[tuple[str, ...], Option(cli=False)] = ()
    """Roots followed from the start, ``*`` for all that the broker knows."""
    stale: Annotated[StalePolicy, Option(cli=False)] = StalePolicy.SERVE
    refuse_stale: Annotated[tuple[str, ...], Option(cli=False)] = ()
    """Roots whose policy is `StalePolicy.REFUSE` whatever `stale` says."""
    poll_s: Annotated[float, Option(cli=False), Field(gt=0)] = 10.0
    """Seconds between looks at broker and publishers while the bus is not there."""
    threads: Annotated[int | None, Option(cli=False), Field(ge=1, le=64)] = None
    """Threads for decompression and files; the number of cores, at least 2, by default."""
    memory: Annotated[Size, Option(cli=False), Field(ge=2**20)] = 64 * 2**20
    """Bytes that large answers (above 1 MiB) may take in memory together while they are made and sent, in each process;
    further ones wait in turn. Half as much again for answers that wait for each publisher."""
    workers: Annotated[int, Option("processes that serve; 0 for one on each core"), Field(ge=0, le=64)] = 1
    """Each follows the roots by itself; they share address, people and cache."""
    migrate: Annotated[bool, Option("bring the database to this version and end, without serving")] = False
    cache: CacheSettings = CacheSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    share: ShareSettings = ShareSettings()
    database: DatabaseSettings = DatabaseSettings()
    spaces: SpacesSettings = SpacesSettings()
    load_from_url: LoadSettings = LoadSettings()
    mail: MailSettings = MailSettings()
    auth: AuthSettings = AuthSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.register and not self.login:
            raise ValueError("register = true needs login = true")
        return self

    def publisher_rules(self) -> OutboundRules:
        """Return where publishers may be (U11)."""
        # A broker lets publishers of its own machine alone announce loopback addresses; on ours they mean the same.
        local = self.broker is not None and self.broker.is_local
        given = self.upstream
        return OutboundRules(allow=given.allow, deny=given.deny, private=True, local=local, plain=not given.require_tls)

    @property
    def cache_directory(self) -> Path:
        """Where chunks are kept."""
        return self.cache.directory or self.statedir / "cache"

    @property
    def spaces_directory(self) -> Path:
        """Where users' files are kept."""
        return self.spaces.directory or self.statedir

    @property
    def nworkers(self) -> int:
        """Number of processes that serve."""
        return self.workers or usable_cores()

    @property
    def nthreads(self) -> int:
        """Number of threads for decompression and files."""
        return self.threads or max(2, usable_cores())
