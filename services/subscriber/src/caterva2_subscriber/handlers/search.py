"""Finding datasets: ``/api/search`` over everything, ``/api/browse`` folder by folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from caterva2.errors import NotFound, RootNotFound, Unavailable
from caterva2.paths import PERSONAL, PUBLIC, SHARED, SPECIAL_ROOTS, check_root, split

from ..auth.principal import OptionalPrincipal, Principal
from ..context import Context, ContextDep
from ..search import browse, matching, page_of
from ..summary import Shown, Summary
from .compression import compress

router = APIRouter(tags=["catalogue"])

Limit = Annotated[int, Query(ge=1, le=10_000)]
After = Annotated[str, Query(max_length=2000, description="`next` of the page before")]
Coding = Annotated[str, Header(alias="accept-encoding")]


class Entry(BaseModel):
    """One dataset or file."""

    path: str
    kind: str = Field(description="`array`, `frame`, `file`, `hdf5`, or `lazy` for an expression")
    dtype: str | None
    shape: list[int] | None
    nbytes: int
    mtime: float | None = Field(description="Unix time in seconds")
    etag: str


class Folder(BaseModel):
    """One folder, with all that is below it."""

    name: str
    count: int
    nbytes: int


class FoundPage(BaseModel):
    """A page of what was found."""

    total: int
    entries: list[Entry]
    next: str | None = Field(description="Where the next page begins (`after`); null at the end")


class FolderPage(BaseModel):
    """A page of what is in a folder; its folders come with the first page."""

    path: str
    folders: list[Folder]
    entries: list[Entry]
    next: str | None = Field(description="Where the next page begins (`after`); null at the end")


@router.get("/api/search", summary="Datasets and files by name, type, shape and attributes", response_model=FoundPage)
async def search(
    context: ContextDep,
    principal: OptionalPrincipal,
    q: Annotated[str, Query(max_length=500, description="Words that must all be found")] = "",
    kind: Annotated[Shown, Query(description="Only arrays with so many axes, tables of records, or files")] = "",
    root: Annotated[str, Query(max_length=100, description="Only in this root")] = "",
    sort: Annotated[Literal["path", "-mtime"], Query(description="By path, or the newest first")] = "path",
    after: After = "",
    limit: Limit = 100,
    accept_encoding: Coding = "",
) -> Response:
    """Answer with a page of what is found in the roots that the reader may read: ``entries``, ``total``, ``next``.

    Words are looked for in paths, types (`float32`), shapes (`1030x1065`) and attributes (`units=mA`). ``pending``
    files of users are so new that they are found by their names only, for a moment.
    """
    if root:
        await _require_known(context, principal, check_root(root))
    roots = [root] if root else await _readable(context, principal)
    found: list[Summary] = []
    pending = 0
    for name in roots:
        try:
            held = await context.index.summaries(principal, name)
        except NotFound:
            continue  # it went away since the roots were listed
        pending += held.pending
        found += await context.threads.run(matching, held.summaries, q, kind)
    head = {"total": len(found), "pending": pending}
    if sort == "-mtime":
        found.sort(key=lambda summary: -(summary.mtime or 0.0))
        return _page(head, found[:limit], None, accept_encoding)
    found.sort(key=lambda summary: summary.path)
    return _page(head, *page_of(found, after, limit), accept_encoding)


@router.get("/api/browse/{path:path}", summary="What is directly in a root or folder", response_model=FolderPage)
async def browse_path(
    path: str,
    context: ContextDep,
    principal: OptionalPrincipal,
    after: After = "",
    limit: Limit = 1000,
    accept_encoding: Coding = "",
) -> Response:
    """Answer with the ``folders`` (name, number of datasets, bytes) and a page of the ``entries``."""
    root, rel = split(path)
    path = f"{root}/{rel}" if rel else root
    await _require_known(context, principal, root)
    held = await context.index.summaries(principal, root)
    folders, entries = await context.threads.run(browse, held.summaries, path)
    shown = [] if after else [{"name": f.name, "count": f.count, "nbytes": f.nbytes} for f in folders]
    return _page({"path": path, "folders": shown}, *page_of(entries, after, limit), accept_encoding)


async def _require_known(context: Context, principal: Principal, root: str) -> None:
    """Raise RootNotFound for a root that is not there, and in the same words for one that is hidden."""
    if not await context.rights.readable(principal, root):
        raise RootNotFound(f"{root} not known by the broker")
    if root not in SPECIAL_ROOTS:
        await context.tracking.require_known(root)


async def _readable(context: Context, principal: Principal) -> list[str]:
    names = [root.name for root in context.tracking.roots() if root.subscribed]
    if not principal.is_anonymous:
        names.append(PERSONAL)
    names += [PUBLIC, SHARED]
    return [name for name in names if await _may_read(context, principal, name)]


async def _may_read(context: Context, principal: Principal, root: str) -> bool:
    try:
        return await context.rights.readable(principal, root)
    except (NotFound, Unavailable):
        return False


def _page(head: dict[str, Any], page: Sequence[Summary], following: str | None, accept_encoding: str) -> Response:
    body = orjson.dumps({**head, "entries": [summary.shown() for summary in page], "next": following})
    sent, headers = compress(body, accept_encoding)
    return Response(sent, headers={**headers, "Cache-Control": "private, no-cache"}, media_type="application/json")
