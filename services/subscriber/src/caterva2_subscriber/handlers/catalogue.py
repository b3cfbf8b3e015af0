"""What there is: ``/api/list``, ``/api/info``."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response

from caterva2.wire import Info

from ..auth.principal import OptionalPrincipal
from ..context import ContextDep
from .conditions import etag_matches

router = APIRouter(tags=["catalogue"])

JSON = "application/json"


@router.get("/api/list/{path:path}", summary="Paths below a root or directory", response_model=list[str])
async def list_paths(path: str, context: ContextDep, principal: OptionalPrincipal) -> Response:
    """Answer with the sorted paths at all levels below `path`, relative to it; the name alone for a dataset or file."""
    return Response(orjson.dumps(await context.library.list(principal, path)), media_type=JSON)


@router.get("/api/info/{path:path}", summary="What a path holds", response_model=Info)
async def info(
    path: str,
    context: ContextDep,
    principal: OptionalPrincipal,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with shape, type, chunks, compression, attributes, version and freshness of a dataset or file."""
    found = await context.library.info(principal, path)
    headers = {"ETag": f'"{found["version"]}"'} if "version" in found else {}
    if headers and etag_matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(orjson.dumps(found), media_type=JSON, headers=headers)
