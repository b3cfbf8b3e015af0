"""Roots to publish in tests, and what a subscriber makes of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import blosc2
import httpx
import numpy as np

from tests.support.processes import Service, wait_until


def make_array(
    path: Path,
    array: np.ndarray[Any, Any],
    chunks: tuple[int, ...],
    blocks: tuple[int, ...] | None = None,
    **vlmeta: Any,
) -> None:
    """Write an array so that readers see the old file or the new one, never half of it."""
    fresh = path.with_name(f".cat2-{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"chunks": chunks, "blocks": blocks, "urlpath": str(fresh), "mode": "w"}
    stored = blosc2.asarray(np.ascontiguousarray(array), **options)
    for name, value in vlmeta.items():
        stored.schunk.vlmeta[name] = value
    fresh.replace(path)


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return numbers that do not compress well."""
    return np.random.default_rng(seed).standard_normal(shape)


def fetch(service: Service, path: str, slice_: str | None = None, **options: Any) -> np.ndarray[Any, Any]:
    """Return what the subscriber answers to a slice, as numpy shows it. Raises httpx.HTTPStatusError."""
    return decode(raw_fetch(service, path, slice_, **options).content)


def raw_fetch(service: Service, path: str, slice_: str | None = None, **options: Any) -> httpx.Response:
    """Return the answer to a fetch. Raises httpx.HTTPStatusError."""
    params = {} if slice_ is None else {"slice_": slice_}
    answer = service.get(f"/api/fetch/{path}", params=params, timeout=options.pop("timeout", 60), **options)
    answer.raise_for_status()
    return answer


def decode(frame: bytes) -> np.ndarray[Any, Any]:
    """Return the array of a frame."""
    opened = blosc2.ndarray_from_cframe(frame, copy=True)
    return np.asarray(opened[()] if opened.ndim == 0 else opened[:])


def wait_cached(service: Service, path: str) -> None:
    """Wait until all of a dataset is in the cache; ask a process that did not fetch it.

    Readers get their chunks a moment before the cache does.
    """
    wait_until(
        lambda: service.get(f"/api/plan/{path}").json()["link_chunks"] == 0, timeout_s=60, what=f"{path} is cached"
    )


def subscribe(service: Service, root: str, *, count: int | None = None) -> None:
    """Let a subscriber follow a root, and wait until it lists `count` paths (any number above 0 by default)."""
    httpx.post(f"{service.url}/api/subscribe/{root}", trust_env=False, timeout=60).raise_for_status()
    wait_until(
        lambda: (n := len(paths(service, root))) and (count is None or n == count),
        timeout_s=20,
        what=f"{root} is listed",
    )


def paths(service: Service, root: str) -> list[str]:
    """Return what the subscriber lists."""
    answer = service.get(f"/api/list/{root}")
    return list(answer.json()) if answer.status_code == 200 else []


def info(service: Service, path: str) -> dict[str, Any]:
    """Return what ``/api/info`` answers. Raises httpx.HTTPStatusError."""
    answer = service.get(f"/api/info/{path}")
    answer.raise_for_status()
    return dict(answer.json())


def counter(service: Service, name: str, **labels: str) -> float:
    """Return the value of a metric, summed over the labels that are not given."""
    total = 0.0
    for line in service.get("/metrics").text.splitlines():
        match = re.match(rf"caterva2_{name}(?:\{{(.*)\}})? (\S+)$", line)
        if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
            total += float(match[2])
    return total


def chunk_requests(publisher: Service) -> float:
    """Return how many requests for chunks a publisher has answered."""
    return counter(publisher, "http_requests_total", route="/api/chunks/{path:path}")
