"""What eyes need of large arrays: tiles of mean pyramids, envelopes of lines."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from caterva2.errors import BadRequest, Caterva2Error, DatasetNotFound, TooLarge, Unavailable, VersionChanged
from caterva2.paths import check_path
from caterva2.wire import CHUNKS_MEDIA_TYPE, encode_end, encode_error, encode_frame_header
from caterva2_formats.chunks import digest
from caterva2_formats.envelope import Line
from caterva2_formats.pyramid import BASE_LEVEL, Plane
from caterva2_service.threads import Threads

from ..context import Context, ContextDep
from ..digests import parse_ranges
from ..pyramid_files import PyramidKey
from .conditions import wanted

router = APIRouter(tags=["views"])

T = TypeVar("T")
FRAMES: dict[int | str, dict[str, Any]] = {200: {"content": {CHUNKS_MEDIA_TYPE: {}}}}
MAX_TILES = 4096
_ATTEMPTS = 2
"""A pyramid may be removed for others, or found damaged, before its tiles are read."""


@router.get(
    "/api/pyramid/{path:path}", summary="Tiles of a level of a plane", response_class=Response, responses=FRAMES
)
async def pyramid(
    path: str,
    context: ContextDep,
    rows: Annotated[int, Query(description="axis that runs down")],
    columns: Annotated[int, Query(description="axis that runs to the right")],
    level: Annotated[int, Query(description="a pixel of level n is the mean of 2**n by 2**n elements")],
    tiles: Annotated[str, Query(description="ranges of tiles of 512 by 512 pixels, row by row, as 0:4,9:10")],
    at: Annotated[str, Query(description="index on each of the other axes, as 3,0")] = "",
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with frames as for chunks: compressed chunks of the array that the level is, one for each tile."""
    path = _known(context, path)
    plane = Plane(rows, columns, _indices(at))
    ranges = parse_ranges(tiles) or []
    if sum(max(0, stop - start) for start, stop in ranges) > MAX_TILES:
        raise TooLarge(f"one request asks for at most {MAX_TILES} tiles")
    numbers = list(chain.from_iterable(range(start, stop) for start, stop in ranges))
    try:
        key = await context.threads.run(context.pyramids.check, path, wanted(if_match), plane, level)
        first = [await _tile(context, key, level, number) for number in numbers[:1]]
    except VersionChanged:
        context.hint(path)
        raise
    frames = _frames(context, key, level, numbers, first)
    return StreamingResponse(frames, media_type=CHUNKS_MEDIA_TYPE, headers={"etag": f'"{key.etag}"'})


@router.get(
    "/api/envelope/{path:path}",
    summary="A line at the resolution of a screen",
    response_class=Response,
    responses=FRAMES,
)
async def envelope(
    path: str,
    context: ContextDep,
    axis: Annotated[int, Query(description="axis along which the line runs")],
    start: Annotated[int, Query(description="index of its first value")],
    count: Annotated[int, Query(description="number of its values")],
    group: Annotated[int, Query(description="number of values for which one pair stands")],
    step: Annotated[int, Query(description="distance of its values")] = 1,
    at: Annotated[str, Query(description="index on each of the other axes, as 3,0")] = "",
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with one frame as for chunks: the compressed chunk of an array of shape ``(pairs, 2)``.

    Each pair is minimum and maximum of `group` values, exact and in the type of the dataset.
    """
    path = _known(context, path)
    line = Line(axis, _indices(at), start, step, count, group)
    try:
        etag, chunk = await _stoppable(
            context.view_threads, partial(context.pyramids.envelope, path, wanted(if_match), line)
        )
    except VersionChanged:
        context.hint(path)
        raise
    context.views_served.labels("envelope").inc()
    body = encode_frame_header(0, len(chunk), digest(chunk)) + chunk + encode_end(1)
    return Response(body, media_type=CHUNKS_MEDIA_TYPE, headers={"etag": f'"{etag}"'})


async def _frames(
    context: Context, key: PyramidKey, level: int, numbers: Sequence[int], first: list[bytes]
) -> AsyncIterator[bytes]:
    try:
        for place, number in enumerate(numbers):
            tile = first[place] if place < len(first) else await _tile(context, key, level, number)
            context.views_served.labels("tile").inc()
            yield encode_frame_header(number, len(tile), digest(tile)) + tile
    except Caterva2Error as error:
        yield encode_error(error)
        return
    yield encode_end(len(numbers))


async def _tile(context: Context, key: PyramidKey, level: int, number: int) -> bytes:
    pyramids = context.pyramids
    threads = context.threads if level >= BASE_LEVEL else context.view_threads
    for _ in range(_ATTEMPTS):
        if level >= BASE_LEVEL and not pyramids.is_made(key):
            # All who look at the plane wait for the same walk over it; it ends when the last of them has gone.
            await context.building.run(key, lambda: _stoppable(context.pyramid_threads, partial(pyramids.make, key)))
        found = await _stoppable(threads, partial(pyramids.tile, key, level, number))
        if found is not None:
            return found
    raise Unavailable("The pyramid cannot be kept", retry_after_s=10)


async def _stoppable(threads: Threads, work: Callable[[threading.Event], T]) -> T:
    """Do `work` in a thread, and tell it when nobody waits for it any more."""
    stop = threading.Event()
    try:
        return await threads.run(work, stop)
    finally:
        stop.set()


def _known(context: Context, path: str) -> str:
    path = check_path(path)
    if context.catalog.get(path) is None:
        raise DatasetNotFound
    return path


def _indices(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise BadRequest("'at' is written as 3,0") from None
