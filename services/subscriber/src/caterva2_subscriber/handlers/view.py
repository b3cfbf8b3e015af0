"""Data for browsers: ``/api/view``. Raw values of slices, tiles of pictures, envelopes of long lines, statistics.

Every answer belongs to one version. Asked for by version (``v``), it may be kept for ever, because a changed dataset
has another address; a version that is gone is answered 412.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from caterva2.errors import BadRequest, InvalidField, TooLarge
from caterva2.slices import Selection, parse_slice, select
from caterva2.wire import Kind
from caterva2_formats.dtypes import parse_dtype
from caterva2_formats.envelope import step_for

from .. import answers
from ..auth.principal import OptionalPrincipal, Principal
from ..context import Context, ContextDep
from ..library import Resource
from ..views.encoding import browser_dtype, describe_dtype, to_bytes, value_range
from ..views.export import as_csv, as_npy
from ..views.lines import envelope_of
from ..views.planes import (
    SAMPLE_ELEMENTS,
    check_tile,
    level_selection_shape,
    plane_axes,
    plane_of,
    sample,
    window_of,
)
from ..views.rows import order_of
from ..views.statistics import describe
from .compression import compress
from .conditions import cache_control, etag_matches, version_check
from .sending import with_current

router = APIRouter(prefix="/api/view", tags=["view"])

Array = np.ndarray[Any, Any]

MAX_SLICE_BYTES = 256 * 2**20
"""Largest slice that is sent to a browser, uncompressed."""
MAX_LINE = 2**31
MAX_SORTED_BYTES = 512 * 2**20
"""Largest table that is filtered or sorted for a browser."""
MAX_SORTED_ROWS = 2**25
"""The place of each row takes memory too, however small a row is."""

Slice = Annotated[str | None, Query(max_length=1000, description="Slice as numpy writes it, `128,:,:`")]
Version = Annotated[str | None, Query(max_length=100, description="Version that the answer must belong to")]
Filter = Annotated[Literal["shuffle"] | None, Query(alias="filter", description="Send byte 0 of all elements first")]


@dataclass(frozen=True, slots=True)
class Asked:
    """What every view request says."""

    request: Request
    context: Context
    principal: Principal
    path: str
    v: str | None
    if_none_match: str | None
    accept_encoding: str


async def asked(
    path: str,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    v: Version = None,
    if_none_match: Annotated[str | None, Header()] = None,
    accept_encoding: Annotated[str, Header()] = "",
) -> Asked:
    """Gather what every view request says."""
    return Asked(request, context, principal, path, v, if_none_match, accept_encoding)


AskedDep = Annotated[Asked, Depends(asked)]
Work = Callable[[Resource], Awaitable[Response]]
OCTETS: dict[int | str, dict[str, Any]] = {200: {"content": {answers.OCTETS: {}}}}


async def _view(asked: Asked, parts: tuple[object, ...], work: Work) -> Response:
    """Answer from one version: the one named by ``v``, or the present one."""

    async def answer(resource: Resource) -> Response:
        headers = {"ETag": answers.entity_tag(resource, *parts), "Cache-Control": cache_control(asked.v)}
        if etag_matches(asked.if_none_match, headers["ETag"]):
            return Response(status_code=304, headers={**answers.data_headers(resource), **headers})
        response = await work(resource)
        response.headers.update({**answers.data_headers(resource), **headers})
        return response

    return await with_current(
        asked.context,
        asked.principal,
        asked.path,
        answer,
        request=asked.request,
        check=version_check(None, asked.v),
    )


async def _send_array(asked: Asked, array: Array, *, shuffle: bool, started: float, **headers: object) -> Response:
    """Send raw values; what they are is said in headers."""
    read_at = time.perf_counter()

    def encode() -> tuple[bytes, dict[str, str]]:
        values = array.astype(browser_dtype(array.dtype), copy=False)
        raw, shuffled = to_bytes(values, shuffle=shuffle)
        described = {
            "X-Dtype": describe_dtype(values.dtype),
            "X-Shape": json.dumps(list(values.shape), separators=(",", ":")),
            "X-Raw-Bytes": str(len(raw)),
        }
        if shuffled:
            described["X-Filter"] = "shuffle"
        found = value_range(values)
        if found is not None:
            described["X-Range"] = json.dumps(found)
        body, coded = compress(raw, asked.accept_encoding)
        return body, described | coded

    body, described = await asked.context.threads.run(encode)
    timing = f"read;dur={(read_at - started) * 1e3:.1f}, encode;dur={(time.perf_counter() - read_at) * 1e3:.1f}"
    said = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return Response(body, headers={**described, **said, "Server-Timing": timing}, media_type=answers.OCTETS)


def _select(resource: Resource, text: str | None, *, limit: int = MAX_SLICE_BYTES) -> Selection:
    layout = answers.sliceable(resource)
    selection = select(parse_slice(text), layout.shape)
    nbytes = selection.size * max(layout.typesize, parse_dtype(layout.dtype).itemsize)
    if nbytes > limit:
        raise TooLarge(f"the slice has {nbytes} bytes; at most {limit} are sent to a browser: choose a smaller slice")
    return selection


def _is_real(resource: Resource) -> bool:
    dtype = parse_dtype(answers.sliceable(resource).dtype)
    return dtype.names is None and dtype.subdtype is None and dtype.kind in "biuf"


@router.get("/slice/{path:path}", summary="Raw values of a slice", response_class=Response, responses=OCTETS)
async def view_slice(asked: AskedDep, s: Slice = None, shuffle: Filter = None) -> Response:
    """Answer with little-endian values in C order.

    Headers say what they are: ``X-Dtype``, ``X-Shape``, ``X-Range``, and
    ``X-Filter``, which is ``shuffle`` if the bytes are shuffled.
    """
    started = time.perf_counter()

    async def work(resource: Resource) -> Response:
        array = await resource.read(_select(resource, s))
        return await _send_array(asked, array, shuffle=shuffle is not None, started=started)

    return await _view(asked, ("slice", s, shuffle, _coding(asked)), work)


@router.get("/tile/{path:path}", summary="One tile of a large picture", response_class=Response, responses=OCTETS)
async def view_tile(
    asked: AskedDep,
    level: Annotated[int, Query(ge=0, le=40, description="Level of the pyramid; 0 is the data")],
    s: Slice = None,
    shuffle: Filter = None,
) -> Response:
    """Answer with at most 512 by 512 pixels of a level of the mean pyramid.

    The slice is in pixels of the level. A pixel of level n stands for a square of 2**n by 2**n pixels.
    """
    started = time.perf_counter()

    async def work(resource: Resource) -> Response:
        if not _is_real(resource):
            raise InvalidField("tiles are made of real numbers only")
        shape = answers.sliceable(resource).shape
        # Spans of higher levels fit into the shape of the data: this only asks which axes are kept.
        axes = plane_axes(select(parse_slice(s), shape))
        selection = select(parse_slice(s), level_selection_shape(shape, axes, level))
        check_tile(selection)
        array = await asked.context.planes.tile(resource, plane_of(selection), level, window_of(selection))
        return await _send_array(asked, array, shuffle=shuffle is not None, started=started)

    return await _view(asked, ("tile", s, level, shuffle, _coding(asked)), work)


@router.get(
    "/line/{path:path}", summary="A line at the resolution of a screen", response_class=Response, responses=OCTETS
)
async def view_line(
    asked: AskedDep,
    s: Slice = None,
    n: Annotated[int, Query(ge=1, le=100_000, description="Pixels, about")] = 2400,
    shuffle: Filter = None,
) -> Response:
    """Answer with minimum and maximum of every ``X-Step`` values, or with the values where there are few."""
    started = time.perf_counter()

    async def work(resource: Resource) -> Response:
        selection = _select(resource, s, limit=MAX_LINE * 16)
        kept = [i for i, axis in enumerate(selection.axes) if not axis.dropped]
        if len(kept) != 1:
            raise BadRequest(f"a line has one axis, but the slice leaves {len(kept)}")
        count = selection.axes[kept[0]].count
        if count > MAX_LINE:
            raise TooLarge("the line is too long to be shown at once")
        step = step_for(count, n)
        if step > 1 and not _is_real(resource):
            step = 1
            if count > SAMPLE_ELEMENTS:
                raise TooLarge(f"lines of this type are shown up to {SAMPLE_ELEMENTS} values at once: choose a part")
        if step == 1:
            array = await resource.read(selection)
        else:
            array = await envelope_of(resource, selection, kept[0], step, asked.context.threads)
        return await _send_array(asked, array, shuffle=shuffle is not None, started=started, X_Step=step)

    return await _view(asked, ("line", s, n, shuffle, _coding(asked)), work)


@router.get("/stats/{path:path}", summary="Statistics of a slice", response_model=dict[str, Any])
async def view_stats(asked: AskedDep, s: Slice = None) -> Response:
    """Answer with minimum, maximum, mean, deviation, percentiles 0.5 and 99.5 and a histogram.

    ``approx`` says that a large slice was described by a sample, or a picture by its means.
    """

    async def work(resource: Resource) -> Response:
        layout = answers.sliceable(resource)
        dtype = parse_dtype(layout.dtype)
        if dtype.names is not None or dtype.subdtype is not None or dtype.kind not in "biufc":
            raise InvalidField(f"values of type {layout.dtype} have no statistics")
        selection = select(parse_slice(s), layout.shape)
        kept = [axis for axis in selection.axes if not axis.dropped]
        whole_plane = len(kept) == 2 and all(
            axis.dropped or axis.count == length for axis, length in zip(selection.axes, layout.shape, strict=True)
        )
        if selection.size > SAMPLE_ELEMENTS and whole_plane and dtype.kind != "c":
            values, approximate = await asked.context.planes.overview(resource, plane_of(selection)), True
        else:
            chosen, approximate = sample(selection, layout.chunks)
            values = await resource.read(chosen)
        found = await asked.context.threads.run(lambda: describe(values, approximate=approximate))
        body, coded = compress(json.dumps(found).encode(), asked.accept_encoding)
        return Response(body, headers=coded, media_type="application/json")

    return await _view(asked, ("stats", s, _coding(asked)), work)


@router.get(
    "/rows/{path:path}", summary="Rows of a table, filtered and sorted", response_class=Response, responses=OCTETS
)
async def view_rows(
    asked: AskedDep,
    s: Slice = None,
    where: Annotated[
        str | None,
        Query(alias="filter", max_length=1000, description="Condition on the fields", examples=["energy > 3"]),
    ] = None,
    sort: Annotated[str | None, Query(max_length=200, description="Field, with `-` for the largest first")] = None,
) -> Response:
    """Answer with records; their first field ``#`` is the place in the dataset. ``X-Total`` counts those
    that fit."""
    started = time.perf_counter()

    async def work(resource: Resource) -> Response:
        layout = answers.sliceable(resource)
        dtype = parse_dtype(layout.dtype)
        if dtype.names is None or len(layout.shape) != 1:
            raise InvalidField("only one-dimensional tables of records can be filtered and sorted")
        if layout.nbytes > MAX_SORTED_BYTES or layout.shape[0] > MAX_SORTED_ROWS:
            raise TooLarge(
                f"tables up to {MAX_SORTED_BYTES} bytes and {MAX_SORTED_ROWS} rows are filtered and sorted; "
                f"this one has {layout.nbytes} and {layout.shape[0]}"
            )
        table = await resource.read(select((), layout.shape))
        places = await order_of(table, where, sort, asked.context.workers, asked.context.threads)
        wanted = select(parse_slice(s), (len(places),))
        chosen = places[wanted.axes[0].start : wanted.axes[0].stop]

        def pick() -> Array:
            rows = np.empty(len(chosen), [("#", "<i8"), ("", browser_dtype(dtype))])
            rows["#"] = chosen
            rows[rows.dtype.names[1]] = table[chosen]  # type: ignore[index]
            fields = [("#", np.dtype("<i8")), *((name, browser_dtype(dtype)[name]) for name in dtype.names or ())]
            return rows.view(np.dtype([(name, *(kind.subdtype or (kind,))) for name, kind in fields]))

        picked = await asked.context.threads.run(pick)
        return await _send_array(asked, picked, shuffle=False, started=started, X_Total=len(places))

    return await _view(asked, ("rows", s, where, sort, _coding(asked)), work)


@router.get("/export/{path:path}", summary="A slice as .npy or .csv", response_class=Response, responses=OCTETS)
async def view_export(
    asked: AskedDep,
    s: Slice = None,
    kind: Annotated[Literal["npy", "csv"], Query(alias="format", description="Kind of the file")] = "npy",
) -> Response:
    """Answer with a file: numpy's own format, or text with one row a line (at most two axes)."""

    async def work(resource: Resource) -> Response:
        selection = _select(resource, s)
        if kind == "csv" and len(selection.shape) > 2:
            raise BadRequest("text has rows and columns: choose a slice with at most two axes")
        array = await resource.read(selection)
        body = await asked.context.threads.run(as_npy if kind == "npy" else as_csv, array)
        stem = resource.path.rpartition("/")[2].removesuffix(".b2nd")
        part = f"[{s.replace(':', '_')}]" if s else ""
        media_type = answers.OCTETS if kind == "npy" else "text/csv; charset=utf-8"
        return Response(
            body,
            headers={"Content-Disposition": answers.disposition(f"{stem}{part}.{kind}")},
            media_type=media_type,
        )

    return await _view(asked, ("export", s, kind), work)


@router.get("/cache/{path:path}", summary="Which chunks are at this subscriber")
async def view_cache(asked: AskedDep) -> dict[str, Any]:
    """Answer with the grid of chunks and a bitmap (base64, chunk 0 in the highest bit of the first byte)."""
    resource = await asked.context.library.open(asked.principal, asked.path)
    layout = answers.sliceable(resource)
    remote = not asked.path.startswith("@")
    here = np.ones(layout.nchunks, bool)
    if remote:
        here[resource.missing(range(layout.nchunks))] = False
    local = int(here.sum())
    return {
        "grid": [-(-n // c) if c else 0 for n, c in zip(layout.shape, layout.chunks, strict=True)],
        "chunks": list(layout.chunks),
        "shape": list(layout.shape),
        "nchunks": layout.nchunks,
        "local": local,
        "local_bytes": local * resource.chunk_cbytes,
        "bitmap": base64.b64encode(np.packbits(here).tobytes()).decode(),
        "remote": remote,
        "bytes": prod(layout.chunks) * layout.typesize if layout.kind is Kind.ARRAY else layout.chunksize,
    }


def _coding(asked: Asked) -> str:
    accepted = asked.accept_encoding.lower()
    return "zstd" if "zstd" in accepted else "gzip" if "gzip" in accepted else ""
