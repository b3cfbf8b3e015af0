"""The chunk cache, for administrators: ``/api/cache``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query

from caterva2.paths import split

from .. import answers
from ..auth.principal import Administrator
from ..context import ContextDep
from ..economy import combined
from ..library import Resource
from .sending import with_current

router = APIRouter(tags=["cache"])


@router.get("/api/cache/status", summary="What the cache holds")
async def status(context: ContextDep, administrator: Administrator) -> dict[str, Any]:
    """Answer with size, use, state, pins, and what is kept of each root."""
    store = context.store
    usage = await context.threads.run(store.usage)
    others = [orjson.loads(answer) for answer in await context.siblings.ask("economy")]
    return {
        "size": store.size,
        "used": store.used_bytes,
        "state": store.state or "ok",
        "evicted": store.evicted_bytes,
        "damaged": store.damaged,
        "pins": store.pins,
        "roots": {root: asdict(found) for root, found in usage.items()},
        "economy": combined([context.economy.report(), *others]),
    }


@router.post("/api/cache/pin/{path:path}", summary="Never evict a root, directory or dataset")
async def pin(path: str, context: ContextDep, administrator: Administrator) -> dict[str, Any]:
    """Keep what is cached, and what will be, at or below `path`."""
    await context.threads.run(context.store.pin, _canonical(path))
    return {"pins": context.store.pins}


@router.post("/api/cache/unpin/{path:path}", summary="Undo a pin")
async def unpin(path: str, context: ContextDep, administrator: Administrator) -> dict[str, Any]:
    """Let chunks at or below `path` be evicted again."""
    known = await context.threads.run(context.store.unpin, _canonical(path))
    return {"unpinned": known, "pins": context.store.pins}


@router.post("/api/cache/free/{path:path}", summary="Forget chunks")
async def free(path: str, context: ContextDep, administrator: Administrator) -> dict[str, int]:
    """Forget the chunks at or below `path`, and answer with the bytes given back."""
    return {"freed": await context.threads.run(context.store.free, _canonical(path))}


@router.post("/api/cache/prefetch/{path:path}", summary="Bring a dataset into the cache")
async def prefetch(
    path: str,
    context: ContextDep,
    administrator: Administrator,
    slice_: Annotated[str | None, Query(max_length=1000)] = None,
) -> dict[str, int]:
    """Fetch the chunks that cover a slice, or all, and answer with how many came over the link."""

    async def bring(resource: Resource) -> dict[str, int]:
        layout = answers.sliceable(resource)
        selection = answers.selection_of(resource, slice_)
        numbers = range(layout.nchunks) if selection is None else selection.chunk_numbers(layout.chunks)
        missing = resource.missing(list(numbers))
        async for _ in resource.chunks(missing):
            pass
        return {"chunks": len(missing), "bytes": resource.usage.link_bytes}

    return await with_current(context, administrator, path, bring)


@router.post("/api/cache/verify", summary="Read everything in the cache")
async def verify(
    context: ContextDep,
    administrator: Administrator,
    path: Annotated[str, Query(max_length=2000, description="Only what is at or below this; all without it")] = "",
) -> dict[str, int]:
    """Check every chunk against its digest and forget the damaged ones."""
    return asdict(await context.threads.run(context.store.verify, _canonical(path) if path else ""))


def _canonical(path: str) -> str:
    root, rel = split(path)
    return f"{root}/{rel}" if rel else root
