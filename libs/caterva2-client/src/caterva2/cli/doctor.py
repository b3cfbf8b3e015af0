"""The command that finds out what is wrong: doctor."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import httpx

from .._client import Client
from ._commands import Command, CommandError
from ._output import human_size, print_json

PINGS = 5
SLOW_PING_S = 0.5
SAMPLE_BYTES = 1_000_000
"""Size, in bytes, of what is read to measure the link, about."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    found: str
    advice: str = ""


def doctor(client: Client, args: argparse.Namespace) -> None:
    """Look at every part and say what is wrong, and what to do."""
    findings = []
    for finding in examine(client):
        findings.append(finding)
        if not args.json:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.subject}: {finding.found}", flush=True)
            if finding.advice:
                print(f"      {finding.advice}", flush=True)
    if args.json:
        print_json([asdict(finding) for finding in findings])
    if not all(finding.ok for finding in findings):
        raise CommandError("not everything is well")


def examine(client: Client) -> Iterator[Finding]:
    """Yield findings, the most basic first; stop where nothing more can be learnt."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    parts = ", ".join(f"{name} {version(name)}" for name in ("caterva2-client", "blosc2", "numpy", "httpx"))
    yield Finding("client", True, f"{parts}, {python}")
    try:
        times = [_timed(lambda: client.httpx_client.get(f"{client.urlbase}/healthz"))[0] for _ in range(PINGS)]
    except httpx.HTTPError as error:
        yield Finding("subscriber", False, f"{client.urlbase}: {error}", _connection_advice(client.urlbase))
        return
    ping_s = statistics.median(times)
    slow = "every small request takes that long: read larger slices at once" if ping_s > SLOW_PING_S else ""
    yield Finding("subscriber", True, f"{client.urlbase} answers in {ping_s * 1000:.1f} ms", slow)
    yield _server(client)
    yield from _parts(client)
    yield _identity(client)
    yield from _roots(client)


def _timed(ask: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = ask()
    return time.perf_counter() - began, answer


def _connection_advice(urlbase: str) -> str:
    if "localhost" in urlbase or "127.0.0.1" in urlbase:
        return "start a subscriber here with 'cat2sub', or name another one with --subscriber URL"
    return "check the URL (--subscriber, CATERVA2_URL, caterva2.toml), the network, and that the subscriber runs"


def _get(client: Client, path: str) -> dict[str, Any] | None:
    """Return the JSON object at a path, or None if there is none."""
    try:
        answer = client.httpx_client.get(client.urlbase + path).json()
    except (httpx.HTTPError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _server(client: Client) -> Finding:
    server = _get(client, "/api/server")
    if server is None or "version" not in server:
        advice = "it may be a subscriber of the original, or another program: check the URL"
        return Finding("version", False, "the server does not tell its version", advice)
    mine, theirs = version("caterva2-client").split(".")[:2], str(server["version"]).split(".")[:2]
    advice = "" if mine == theirs else "client and server are of different releases; both still understand each other"
    return Finding("version", True, f"{server.get('name', 'server')} {server['version']}", advice)


def _parts(client: Client) -> Iterator[Finding]:
    ready = _get(client, "/readyz")
    if ready is None:
        yield Finding("parts", False, "the server does not tell its state", "look at its log")
        return
    parts = ready.get("parts", {})
    for name, part in sorted(parts.items()) if isinstance(parts, dict) else ():
        ok = bool(part.get("ok")) if isinstance(part, dict) else bool(part)
        detail = part.get("detail") if isinstance(part, dict) else ""
        advice = "" if ok else "reads of what is cached go on; ask the administrator about this part"
        yield Finding(name, ok, detail or ("well" if ok else "not available"), advice)
    if not parts:
        yield Finding("parts", ready.get("status") == "ready", str(ready.get("status")))


def _identity(client: Client) -> Finding:
    try:
        me = client.whoami()
    except (httpx.HTTPError, ValueError) as error:
        return Finding("login", False, getattr(error, "detail", str(error)), "log in again: cat2cli login")
    if me.get("email"):
        return Finding("login", True, str(me["email"]))
    advice = "private roots stay hidden; log in with: cat2cli login" if me.get("login") else ""
    return Finding("login", True, "anonymous", advice)


def _roots(client: Client) -> Iterator[Finding]:
    try:
        roots = client.get_roots()
    except (httpx.HTTPError, ValueError) as error:
        yield Finding("roots", False, str(error), "look at the log of the subscriber")
        return
    published = {name: root for name, root in roots.items() if not name.startswith("@")}
    if not published:
        advice = "publish one with 'cat2pub NAME DIRECTORY', and tell the subscriber of the broker"
        yield Finding("roots", True, "no root is published", advice)
    for name, root in published.items():
        offline = root.get("state") == "offline"
        advice = "what is cached can be read; ask the publisher's owner to start it again" if offline else ""
        followed = "followed" if root.get("subscribed") else "not followed"
        yield Finding(f"root {name}", not offline, f"{'offline' if offline else 'online'}, {followed}", advice)
    speed = _speed(client, [name for name, root in roots.items() if root.get("subscribed")])
    if speed is not None:
        yield speed


def _speed(client: Client, roots: list[str]) -> Finding | None:
    """Read part of a large dataset, twice: the second time it comes from the cache."""
    for root in roots:
        with suppress(httpx.HTTPError, TimeoutError, ValueError):
            for name in client.get_list(root)[:200]:
                path = f"{root}/{name}"
                schunk = client.get_info(path).get("schunk", {})
                if schunk.get("nbytes", 0) >= SAMPLE_BYTES and schunk.get("nchunks"):
                    return _measured(client, path)
    return None


def _measured(client: Client, path: str) -> Finding:
    client.get_chunk(path, 0)
    took_s, chunk = _timed(lambda: client.get_chunk(path, 0))
    rate = f"{human_size(len(chunk) / took_s)}/s"
    return Finding("link", True, f"{human_size(len(chunk))} of {path} in {took_s * 1000:.0f} ms ({rate})")


COMMANDS = (Command("doctor", doctor, "Check every part and say what is wrong, and what to do"),)
