"""Chunks, one or many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from caterva2.errors import BadRequest, DatasetNotFound, VersionChanged
from caterva2.paths import check_path
from caterva2.wire import CHUNKS_MEDIA_TYPE, ChunksRequest
from caterva2_service.threads import Threads

from ..chunks import ChunkStream
from ..context import Context, ContextDep
from ..digests import parse_ranges
from .conditions import wanted

router = APIRouter(tags=["chunks"])


@router.get("/api/download/{path:path}", summary="One compressed chunk", response_class=Response)
async def download(path: str, context: ContextDep, nchunk: Annotated[int, Query()] = -1) -> Response:
    """Answer with chunk `nchunk` of the present version, exactly as it is stored."""
    if nchunk < 0:
        raise BadRequest("Chunk number required")
    path = check_path(path)
    return Response(await context.threads.run(_chunk, context, path, nchunk))


def _chunk(context: Context, path: str, nchunk: int) -> bytes:
    if context.catalog.get(path) is None:
        raise DatasetNotFound
    with context.sources.lend(path) as source:
        chunk = context.sources.chunk(path, source, nchunk)
        context.count(source, 1, len(chunk))
        return chunk


@router.post(
    "/api/chunks/{path:path}",
    summary="Many compressed chunks of one version, streamed",
    response_class=Response,
    responses={200: {"content": {CHUNKS_MEDIA_TYPE: {}}}},
)
async def chunks(
    path: str, request: ChunksRequest, context: ContextDep, if_match: Annotated[str | None, Header()] = None
) -> Response:
    """Answer with frames (`caterva2.wire.ChunkFrame`) in the order asked for, the skeleton first if it is wanted."""
    path = check_path(path)
    try:
        stream = await context.threads.run(_open, context, path, wanted(if_match), request)
    except (VersionChanged, DatasetNotFound):
        context.hint(path)
        raise
    try:
        first = await context.threads.run(stream.piece)
    except BaseException as error:
        stream.abandon()
        if isinstance(error, VersionChanged):
            context.hint(path)
        raise
    return _Chunks(stream, first, context.threads)


@router.get(
    "/api/digests/{path:path}",
    summary="Digests of the chunks of one version",
    response_model=dict[Literal["digests"], list[str | None]],
)
async def digests(
    path: str,
    context: ContextDep,
    chunks: Annotated[str | None, Query(description="ranges of chunks, as 0:10,42:43; all without it")] = None,
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with ``{"digests": [...]}``: XXH3-128 of each chunk in hexadecimal, null where it is not asked or known.

    A reader of the version before keeps the chunks whose digests did not change.
    """
    path = check_path(path)
    try:
        etag, found = await context.threads.run(context.digests.of, path, wanted(if_match), parse_ranges(chunks))
    except VersionChanged:
        context.hint(path)
        raise
    return Response(orjson.dumps({"digests": found}), media_type="application/json", headers={"etag": f'"{etag}"'})


def _open(context: Context, path: str, etag: str | None, request: ChunksRequest) -> ChunkStream:
    if context.catalog.get(path) is None:
        raise DatasetNotFound
    return ChunkStream(context.sources, path, etag, request, context.count)


class _Chunks(StreamingResponse):
    """Sends the pieces of a stream, reading one ahead, and gives its source back however the request ends."""

    def __init__(self, stream: ChunkStream, first: bytes, threads: Threads) -> None:
        super().__init__(
            _pieces(stream, first, threads), media_type=CHUNKS_MEDIA_TYPE, headers={"etag": f'"{stream.etag}"'}
        )
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.abandon()


async def _pieces(stream: ChunkStream, first: bytes, threads: Threads) -> AsyncIterator[bytes]:
    piece = first
    while piece:
        ahead = asyncio.ensure_future(threads.run(stream.piece))
        try:
            yield piece
        except BaseException:
            ahead.cancel()
            raise
        piece = await ahead
