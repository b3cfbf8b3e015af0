"""What is published: paths, infos, the manifest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from caterva2.paths import check_path
from caterva2.wire import Info
from caterva2_service.threads import Threads

from ..context import ContextDep
from ..manifest import chosen_encoding
from .conditions import matches

router = APIRouter(tags=["catalogue"])

JSON = "application/json"
NDJSON = "application/x-ndjson"


@router.get("/api/list", summary="Paths of all datasets and files", response_model=list[str])
async def list_paths(context: ContextDep) -> Response:
    """Answer with a JSON list of paths, sorted."""
    body = await context.threads.run(lambda: orjson.dumps(context.catalog.paths()))
    return Response(body, media_type=JSON)


@router.get("/api/info/{path:path}", summary="What a path holds", response_model=Info)
async def info(path: str, context: ContextDep, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Answer with the info of the present version; its etag is in a header, unquoted as the original sends it."""
    entry = await context.threads.run(context.indexer.present, check_path(path))
    headers = {"etag": entry.etag}
    if matches(if_none_match, entry.etag):
        return Response(status_code=304, headers=headers)
    return Response(entry.info, media_type=JSON, headers=headers)


@router.get(
    "/api/manifest",
    summary="The whole index at one seq",
    response_class=Response,
    responses={200: {"content": {NDJSON: {}}}},
)
async def manifest(
    context: ContextDep,
    if_none_match: Annotated[str | None, Header()] = None,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Answer with a `ManifestHeader` line and a `ManifestEntry` line for each path, sorted by path."""
    online = context.indexer.sight.online
    encoding = chosen_encoding(accept_encoding)
    tag = context.manifests.tag(online=online)
    if not matches(if_none_match, tag):
        built = await context.threads.run(context.manifests.current, online=online)
        tag = built.tag
        headers = {"etag": f'"{tag}"', "vary": "Accept-Encoding"}
        if encoding != "identity":
            headers["content-encoding"] = encoding
        pieces = _in_threads(context.threads, built.pieces(encoding))
        return StreamingResponse(pieces, media_type=NDJSON, headers=headers)
    return Response(status_code=304, headers={"etag": f'"{tag}"', "vary": "Accept-Encoding"})


async def _in_threads(threads: Threads, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while piece := await threads.run(next, pieces, b""):
        yield piece
