"""Compressed chunks, as stored: ``/api/chunk``, ``/api/chunks``, and what a read would cost: ``/api/plan``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import prod
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from caterva2.errors import Caterva2Error
from caterva2.wire import CHUNKS_MEDIA_TYPE, encode_end, encode_error, encode_frame_header
from caterva2_formats.chunks import digest

from .. import answers
from ..answers import Answer
from ..auth.principal import OptionalPrincipal
from ..context import ContextDep
from ..library import Resource
from ..reading import cell_dtype
from .conditions import cache_control, etag_matches, version_check
from .sending import respond, started, with_current

router = APIRouter(tags=["data"])


@router.get("/api/chunk/{path:path}", summary="One compressed chunk", response_class=Response)
async def chunk(
    path: str,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    nchunk: Annotated[int, Query()],
    v: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Answer with chunk `nchunk`, counted row-major over the grid of chunks, exactly as it is stored."""

    async def answer(resource: Resource) -> Response:
        data = await resource.chunk(nchunk)
        etag = answers.entity_tag(resource, nchunk)
        return Response(
            data, headers={**answers.data_headers(resource), "ETag": etag, "Cache-Control": cache_control(v)}
        )

    return await with_current(context, principal, path, answer, check=version_check(None, v), request=request)


@router.get(
    "/api/chunks/{path:path}",
    summary="The compressed chunks that cover a slice",
    response_class=Response,
    responses={200: {"content": {CHUNKS_MEDIA_TYPE: {}}}},
)
async def chunks(
    path: str,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    slice_: Annotated[str | None, Query(max_length=1000)] = None,
    v: Annotated[str | None, Query(max_length=100)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with frames (`caterva2.wire.ChunkFrame`) for a client that decompresses by itself."""

    async def answer(resource: Resource) -> Response:
        numbers = _covering(resource, slice_)
        etag = answers.entity_tag(resource, "chunks", slice_)
        headers = {"ETag": etag, "Cache-Control": cache_control(v)}
        if etag_matches(if_none_match, etag):
            return Response(status_code=304, headers={**answers.data_headers(resource), **headers})
        made = await started(Answer(_frames(resource, numbers), -1, CHUNKS_MEDIA_TYPE))
        return respond(made, {**answers.data_headers(resource), **headers})

    return await with_current(context, principal, path, answer, check=version_check(if_match, v), request=request)


def _covering(resource: Resource, slice_: str | None) -> list[int]:
    layout = answers.sliceable(resource)
    selection = answers.selection_of(resource, slice_)
    return list(range(layout.nchunks)) if selection is None else selection.chunk_numbers(layout.chunks)


async def _frames(resource: Resource, numbers: list[int]) -> AsyncGenerator[bytes, None]:
    count = 0
    try:
        async with aclosing(answers.closable(resource.chunks(numbers))) as found:
            async for nchunk, data in found:
                count += 1
                yield encode_frame_header(nchunk, len(data), digest(data)) + data
    except Caterva2Error as error:
        if not count:
            raise
        yield encode_error(error)
        return
    yield encode_end(count)


@router.get("/api/plan/{path:path}", summary="What a read would cost")
async def plan(
    path: str,
    context: ContextDep,
    principal: OptionalPrincipal,
    slice_: Annotated[str | None, Query(max_length=1000)] = None,
) -> dict[str, Any]:
    """Answer with the chunks and compressed bytes that would come over the link and from the cache."""
    resource = await context.library.open(principal, path)
    layout = answers.sliceable(resource)
    selection = answers.selection_of(resource, slice_)
    numbers = _covering(resource, slice_)
    missing = resource.missing(numbers)
    shape = layout.shape if selection is None else selection.shape
    if selection is not None and answers.aligned(layout, selection) is None and answers.is_held(layout, selection):
        link_bytes = resource.link_bytes(selection)
    else:
        link_bytes = len(missing) * resource.chunk_cbytes
    itemsize = cell_dtype(layout).itemsize
    return {
        "path": resource.path,
        "version": resource.etag,
        "shape": list(shape),
        "nbytes": prod(shape) * itemsize,
        "chunks": len(numbers),
        "link_chunks": len(missing),
        "link_bytes": link_bytes,
        "cache_chunks": len(numbers) - len(missing),
        "cache_bytes": (len(numbers) - len(missing)) * resource.chunk_cbytes,
    }
