"""Settings of the broker: section ``[broker]``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from caterva2.events import ALIVE_TTL_S
from caterva2_service.settings import Address, Option, ServiceSettings


class BrokerSettings(ServiceSettings):
    """What can be set at a broker."""

    default_statedir: ClassVar[str] = "_caterva2/bro"

    http: Annotated[Address, Option("address to listen at: HOST:PORT or the path of a socket")] = Address(
        "localhost", 8000
    )
    nats_listen: Annotated[Address, Option(cli=False)] = Address("127.0.0.1", 0)
    """Where the broker's own nats-server listens, if no `nats.url` is set; port 0 chooses one and keeps it.
    The host ``*`` lets services on other machines reach it."""
    nats_monitor: Annotated[str | None, Option(cli=False)] = None
    """URL of the monitoring endpoint of an external NATS, by which the broker checks that it syncs every write."""
    nats_replicas: Annotated[int, Field(ge=1, le=5), Option(cli=False)] = 1
    """Number of servers of an external NATS cluster that keep each event."""
    trust_loopback: Annotated[bool, Option(cli=False)] = True
    """Whether services on this machine join without the join token. Set it to false where people that are not trusted
    have accounts on the machine, or a proxy on it passes requests on."""
    allow: Annotated[dict[str, tuple[str, ...]], Field(default_factory=dict), Option(cli=False)]
    """Patterns of the roots that each publisher may publish, by the identity of its key; ``*`` stands for every
    publisher that is admitted. With any entry, nothing else is published; without, a root belongs to the admitted
    publisher that comes first, as long as it lives."""
    addresses: Annotated[dict[str, tuple[str, ...]], Field(default_factory=dict), Option(cli=False)]
    """Where each publisher may be, by the identity of its key: ``host``, ``host:port``, ``https://host`` or the path of
    a socket. With any entry, publishers that are not listed announce nothing."""
    lease: Annotated[float, Field(gt=0, le=3600), Option(cli=False)] = ALIVE_TTL_S
    """Seconds for which a publisher holds its root without renewing."""
