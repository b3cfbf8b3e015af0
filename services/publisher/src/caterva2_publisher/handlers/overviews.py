"""Whole planes at a low resolution."""

from __future__ import annotations

from typing import Annotated

import zstandard
from fastapi import APIRouter, Header, Query, Response

from caterva2.errors import BadRequest, DatasetNotFound, VersionChanged
from caterva2.paths import check_path

from ..context import ContextDep
from ..manifest import chosen_encoding
from ..overviews import Plane
from .conditions import wanted

router = APIRouter(tags=["overviews"])

NPY = "application/x-npy"


@router.get(
    "/api/overview/{path:path}",
    summary="A plane at an eighth of its resolution",
    response_class=Response,
    responses={200: {"content": {NPY: {}}}},
)
async def overview(
    path: str,
    context: ContextDep,
    rows: Annotated[int, Query(description="axis that runs down")],
    columns: Annotated[int, Query(description="axis that runs to the right")],
    at: Annotated[str, Query(description="index on each of the other axes, as 3,0")] = "",
    if_match: Annotated[str | None, Header()] = None,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Answer with an array in numpy's ``npy`` format: the mean of every 8 by 8 elements of a plane."""
    path = check_path(path)
    plane = Plane(rows, columns, _indices(at))
    if context.catalog.get(path) is None:
        raise DatasetNotFound
    try:
        etag, packed = await context.overview_threads.run(context.overviews.of, path, wanted(if_match), plane)
    except VersionChanged:
        context.hint(path)
        raise
    headers = {"etag": f'"{etag}"', "vary": "Accept-Encoding"}
    if chosen_encoding(accept_encoding) == "zstd":
        return Response(packed, media_type=NPY, headers={**headers, "content-encoding": "zstd"})
    return Response(await context.threads.run(zstandard.decompress, packed), media_type=NPY, headers=headers)


def _indices(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise BadRequest("'at' is written as 3,0") from None
