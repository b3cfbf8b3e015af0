"""Data: ``/api/fetch`` and ``/api/download``."""

from __future__ import annotations

import ipaddress
import json
import mimetypes
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from caterva2.errors import BadRequest, InvalidSlice
from caterva2.paths import COMPRESSED_SUFFIX
from caterva2.slices import Selection
from caterva2.wire import Kind

from .. import answers
from ..answers import CODECS, Answer, Codec
from ..auth.principal import OptionalPrincipal, Principal
from ..compute.filters import filtered
from ..context import Context, ContextDep
from ..gathering import parse_indices, pick
from ..library import Resource
from .conditions import byte_range, cache_control, etag_matches, still_applies, version_check
from .sending import respond, started, with_current

router = APIRouter(tags=["data"])

_PLAIN = "plain"
"""Makes the entity tag of a whole dataset in uncompressed chunks."""
HEADER_CODEC = "X-Cat2-Codec"
CODEC = "How a frame that is made for this answer is compressed: `zstd`, `lz4` or `none`"
FILTER = "Condition on the fields of a table, `(a < 5) & b`: only the rows that fulfil it"
FIELD = "Name of a field of a table: only this one"
INDICES = (
    "JSON list with a selection for each of the first axes: a list of indices, an index, the text of a slice, or null "
    "for all. Every combination of them is answered, as with `numpy.ix_`"
)


@router.get(
    "/api/fetch/{path:path}",
    summary="A dataset, a file, or a part of one, as a Blosc2 frame",
    response_class=Response,
    responses={200: {"content": {answers.OCTETS: {}}}},
)
async def fetch(
    path: str,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    slice_: Annotated[str | None, Query(max_length=1000)] = None,
    filter_: Annotated[str | None, Query(alias="filter", max_length=4000, description=FILTER)] = None,
    field: Annotated[str | None, Query(max_length=1000, description=FIELD)] = None,
    indices: Annotated[str | None, Query(max_length=60_000, description=INDICES)] = None,
    v: Annotated[str | None, Query(max_length=100)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_match: Annotated[str | None, Header()] = None,
    range_: Annotated[str | None, Header(alias="range")] = None,
    codec: Annotated[str | None, Header(alias=HEADER_CODEC, description=CODEC)] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with one contiguous frame: the stored file for the whole, otherwise the elements that are selected."""
    query = FetchQuery(slice_, filter_, field, indices, v, if_none_match, if_match, range_, codec, if_range)
    return await answer_fetch(context, principal, request, path, query)


class Wanted(BaseModel):
    """A part of a dataset, where naming it takes more room than a URL has."""

    model_config = ConfigDict(extra="forbid")

    indices: list[Any] | None = Field(default=None, description=INDICES, examples=[[[0, 7, 4000], "10:20", None]])
    slice_: str | None = Field(default=None, max_length=1000, examples=["0:10, ::2"])
    filter: str | None = Field(default=None, max_length=4000, description=FILTER)
    field: str | None = Field(default=None, max_length=1000, description=FIELD)


@router.post(
    "/api/fetch/{path:path}",
    summary="A part of a dataset that is too long to name in a URL",
    response_class=Response,
    responses={200: {"content": {answers.OCTETS: {}}}},
)
async def fetch_wanted(
    path: str,
    wanted: Wanted,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    v: Annotated[str | None, Query(max_length=100)] = None,
    if_match: Annotated[str | None, Header()] = None,
    codec: Annotated[str | None, Header(alias=HEADER_CODEC, description=CODEC)] = None,
) -> Response:
    """Answer as `GET` does to the same words in its query."""
    indices = None if wanted.indices is None else json.dumps(wanted.indices)
    query = FetchQuery(wanted.slice_, wanted.filter, wanted.field, indices, v, None, if_match, None, codec)
    return await answer_fetch(context, principal, request, path, query)


@dataclass(frozen=True, slots=True)
class FetchQuery:
    """What a fetch asks for, in its query and its headers."""

    slice_: str | None = None
    filter: str | None = None
    field: str | None = None
    indices: str | None = None
    v: str | None = None
    if_none_match: str | None = None
    if_match: str | None = None
    range_: str | None = None
    codec: str | None = None
    if_range: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether neither rows, fields nor elements are chosen by other means than a slice."""
        return not self.filter and not self.field and not self.indices


async def answer_fetch(
    context: Context, principal: Principal, request: Request, path: str, query: FetchQuery
) -> Response:
    """Answer a fetch, however the request came here. Raises Caterva2Error."""
    codec = _codec(query.codec, request)

    async def answer(resource: Resource) -> Response:
        # What a filter selects is sliced after it.
        selection = None if query.filter else answers.selection_of(resource, query.slice_)
        whole = selection is None and query.is_whole
        view = () if whole else (query.slice_, query.filter, query.field, query.indices, query.codec)
        etag = answers.entity_tag(resource, *view)
        headers = {"ETag": etag, "Cache-Control": cache_control(query.v)}
        if whole and etag_matches(query.if_none_match, answers.entity_tag(resource, _PLAIN)):
            headers["ETag"] = answers.entity_tag(resource, _PLAIN)
        if etag_matches(query.if_none_match, headers["ETag"]):
            return Response(status_code=304, headers={**answers.data_headers(resource), **headers})
        if whole:
            made, headers["ETag"] = await _whole(context, resource, query.range_, query.if_range)
            headers["Content-Disposition"] = answers.disposition(_stored_name(resource))
            headers["Accept-Ranges"] = "bytes"
            part = byte_range(still_applies(query.range_, query.if_range, headers["ETag"]), made.length)
        elif query.filter:
            if query.indices:
                raise BadRequest("indices cannot be combined with a filter")
            share = await answers.share_of_rows(context.memory, resource)
            found = await filtered(resource, query.filter, query.field, query.slice_, context.workers, context.threads)
            made = await started(await answers.of_array(found, codec, context.threads, context.memory, share))
            part = None
        else:
            made = await started(await _computed(context, resource, selection, query, codec))
            part = None
        return respond(made, {**answers.data_headers(resource), **headers}, part)

    check = version_check(query.if_match, query.v)
    return await with_current(context, principal, path, answer, check=check, request=request)


async def _whole(context: Context, resource: Resource, range_: str | None, if_range: str | None) -> tuple[Answer, str]:
    """Return a whole dataset and the entity tag of its bytes: compressed, or not if that would wait for the link.

    What is asked for in ranges must be the same bytes each time: those of the tag that is given, compressed without.
    """
    tag = answers.entity_tag(resource, _PLAIN)
    if if_range is not None:
        plain = if_range == tag
    else:
        plain = range_ is None and await answers.would_wait(resource)
    made = await started(await answers.whole(resource, context.threads, context.memory, plain=plain))
    return made, tag if plain else answers.entity_tag(resource)


async def _computed(
    context: Context, resource: Resource, selection: Selection | None, query: FetchQuery, codec: Codec
) -> Answer:
    layout = answers.sliceable(resource)
    if query.indices:
        if query.field or selection is not None:
            raise BadRequest("indices cannot be combined with a slice or a field")
        if resource.kind is not Kind.ARRAY:
            raise InvalidSlice(f"{resource.path} is not an array: lists of indices do not apply")
        share = await answers.share_of_rows(context.memory, resource)
        found = await pick(resource, layout, await context.threads.run(parse_indices, query.indices, layout.shape))
        return await answers.of_array(found, codec, context.threads, context.memory, share)
    if query.field:
        return await answers.of_field(resource, query.field, selection, codec, context.threads, context.memory)
    assert selection is not None
    stored = answers.aligned(layout, selection)
    large = selection.size * layout.typesize > answers.HELD_BYTES
    # What is large is streamed: as stored if it is here, exact while it comes over the link.
    if stored is not None and not (large and resource.missing(stored[1])):
        return await answers.assembled(resource, *stored, context.memory)
    return await answers.exact(resource, selection, codec, context.threads, context.memory)


def _stored_name(resource: Resource) -> str:
    name = resource.path.rpartition("/")[2]
    return name + COMPRESSED_SUFFIX if resource.kind is Kind.FILE else name


def _codec(name: str | None, request: Request) -> Codec:
    """Choose how an exact frame is compressed: fast near by, small over a network."""
    if name is not None:
        if name not in CODECS:
            raise BadRequest(f"{HEADER_CODEC} is one of {', '.join(CODECS)}")
        return CODECS[name]
    return CODECS["lz4" if _is_near(request) else "zstd"]


def _is_near(request: Request) -> bool:
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return True  # a Unix socket
    return address.is_loopback


@router.get(
    "/api/download/{path:path}",
    summary="A dataset or file as a file",
    response_class=Response,
    responses={200: {"content": {answers.OCTETS: {}}}},
)
async def download(
    path: str,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    v: Annotated[str | None, Query(max_length=100)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_match: Annotated[str | None, Header()] = None,
    range_: Annotated[str | None, Header(alias="range")] = None,
    accept_encoding: Annotated[str, Header()] = "",
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with what a person wants in a file: datasets as frames, anything else as its own bytes."""
    packed = accept_encoding.strip().lower() == "blosc2"

    async def answer(resource: Resource) -> Response:
        layout = answers.sliceable(resource)
        as_file = resource.kind in (Kind.FILE, Kind.HDF5)
        frame = not as_file or (packed and resource.kind is Kind.FILE)
        etag = answers.entity_tag(resource, None if frame else "file")
        name = resource.path.rpartition("/")[2]
        headers = {
            "ETag": etag,
            "Cache-Control": cache_control(v),
            "Content-Disposition": answers.disposition(name),
            "Accept-Ranges": "bytes",
            "Vary": "Accept-Encoding",
        }
        if etag_matches(if_none_match, etag):
            return Response(status_code=304, headers={**answers.data_headers(resource), **headers})
        if frame:
            made, headers["ETag"] = await _whole(context, resource, range_, if_range)
            if as_file:
                headers["Content-Encoding"] = "blosc2"
            part = byte_range(still_applies(range_, if_range, headers["ETag"]), made.length)
        else:
            part = byte_range(still_applies(range_, if_range, etag), layout.nbytes)
            start, stop = part or (0, layout.nbytes)
            body = answers.file_bytes(resource, layout, start, stop, context.threads)
            made = await started(Answer(body, stop - start))
        made.media_type = _media_type(name) if as_file else None
        if part is not None and not frame:
            headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{layout.nbytes}"
            response = respond(made, {**answers.data_headers(resource), **headers})
            response.status_code = 206
            return response
        return respond(made, {**answers.data_headers(resource), **headers}, part)

    return await with_current(context, principal, path, answer, check=version_check(if_match, v), request=request)


def _media_type(name: str) -> str:
    if name.endswith(".ipynb"):
        return "application/x-ipynb+json"
    guessed = "text/markdown" if name.endswith(".md") else mimetypes.guess_type(name)[0]
    return guessed or answers.OCTETS
