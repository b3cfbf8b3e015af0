"""Where publishers may be (U11)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from caterva2.errors import UpstreamUnavailable
from caterva2_service.outbound import OutboundRules
from caterva2_service.trust import Role
from caterva2_subscriber.settings import SubscriberSettings
from caterva2_subscriber.upstream import Upstream
from tests.support.trust import make_identity


def rules_of(**settings: Any) -> OutboundRules:
    return SubscriberSettings(**settings).publisher_rules()


async def asked(address: str, rules: OutboundRules, tmp_path: Path) -> str:
    """Ask the publisher at an address for its manifest; return why that did not work."""
    identity = make_identity(tmp_path, Role.SUBSCRIBER)
    upstream = Upstream(SubscriberSettings().upstream, identity, rules)
    try:
        async with upstream.publisher(address).manifest():
            return "it answered"
    except UpstreamUnavailable as error:
        return error.detail
    finally:
        await upstream.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
async def test_u11_a_publisher_that_claims_to_be_on_this_machine_is_not_asked(host: str, tmp_path: Path) -> None:
    connections: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        elsewhere = rules_of(broker="broker.example.org:8000")
        why = await asked(f"{host}:{port}", elsewhere, tmp_path)
        assert why.startswith("The publisher ")
        assert connections == []
        assert await asked(f"127.0.0.1:{port}", rules_of(broker="localhost:8000"), tmp_path)
        assert len(connections) == 1, "beside the broker it is"


async def test_u11_sockets_of_this_machine_are_not_asked_for_a_broker_elsewhere(tmp_path: Path) -> None:
    why = await asked("run/pub.socket", rules_of(broker="broker.example.org:8000"), tmp_path)
    assert why == "The publisher is on another machine, which has no socket here"


async def test_u11_without_tls_no_publisher_is_asked_where_it_is_required(tmp_path: Path) -> None:
    rules = rules_of(broker="localhost:8000", upstream={"require_tls": True})
    assert "https://" in await asked("127.0.0.1:9", rules, tmp_path)
    assert await asked("https://127.0.0.1:9", rules, tmp_path) == "The publisher cannot be reached"


def test_u11_networks_are_settings_and_wrong_ones_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rules_of(broker="b:8000", upstream={"allow": ["fd00::/8"], "deny": ["10.0.0.0/8"]})
    assert [str(network) for network in (*rules.allow, *rules.deny)] == ["fd00::/8", "10.0.0.0/8"]
    assert (rules.private, rules.local, rules.plain) == (True, False, True)
    with pytest.raises(ValidationError, match="allow"):
        rules_of(upstream={"allow": ["everything"]})
