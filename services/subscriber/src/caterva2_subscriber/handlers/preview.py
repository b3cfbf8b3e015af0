"""Files to look at: ``/api/preview``. What comes from a file can run nothing and fetch nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from caterva2.errors import BadRequest, TooLarge
from caterva2.wire import Kind

from .. import answers
from ..auth.principal import OptionalPrincipal
from ..context import Context, ContextDep
from ..library import Resource
from ..preview import render
from ..preview.page import page, policy
from ..preview.shrink import MAX_PICTURE_BYTES
from .conditions import cache_control, etag_matches, version_check
from .sending import with_current

router = APIRouter(tags=["data"])

PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
}
"""Pictures that browsers draw themselves."""
PICTURE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
PDF_POLICY = "default-src 'none'; object-src 'self'; frame-ancestors 'self'"
_TIFF = (".tif", ".tiff")

Renderer = Callable[[str], str]


@router.get(
    "/api/preview/{path:path}",
    summary="A file to look at",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in ("text/html", "image/png", "application/pdf")}}},
)
async def preview(
    path: str,
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    width: Annotated[int | None, Query(ge=1, le=8192, description="Largest width of a picture in pixels")] = None,
    theme: Annotated[Literal["light", "dark"], Query(description="Colours of pages")] = "light",
    v: Annotated[str | None, Query(max_length=100)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with a page for text, Markdown, tables, programs and notebooks; with the bytes of pictures and PDF files.

    With `width`, pictures that are wider come as smaller PNG.
    """

    async def answer(resource: Resource) -> Response:
        if resource.kind is not Kind.FILE:
            raise BadRequest(f"{resource.path} is a dataset, not a file: look at it through /api/view")
        headers = {
            "ETag": answers.entity_tag(resource, "preview", width, theme),
            "Cache-Control": cache_control(v),
            "X-Content-Type-Options": "nosniff",
        }
        if etag_matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        response = await _shown(context, resource, width, dark=theme == "dark")
        response.headers.update({**answers.data_headers(resource), **headers})
        return response

    return await with_current(context, principal, path, answer, check=version_check(None, v), request=request)


async def _shown(context: Context, resource: Resource, width: int | None, *, dark: bool) -> Response:
    name = resource.path.rpartition("/")[2]
    suffix = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    if suffix in PICTURES or suffix in _TIFF:
        return await _picture(context, resource, suffix, width)
    if suffix == ".pdf":
        content = await _content(context, resource, MAX_PICTURE_BYTES, whole=True)
        if not content.startswith(b"%PDF-"):
            raise BadRequest(f"{resource.path} is no PDF file")
        return Response(content, headers={"Content-Security-Policy": PDF_POLICY}, media_type="application/pdf")
    content = await _content(context, resource, render.MAX_SHOWN_BYTES)
    if b"\0" in content[:8192]:
        raise BadRequest(f"there is no preview for {resource.path}")
    text = content.decode("utf-8", errors="replace")
    renderer, wide = _renderer(name, suffix)
    body = await context.threads.run(renderer, text)
    if answers.sliceable(resource).nbytes > render.MAX_SHOWN_BYTES:
        shown = render.MAX_SHOWN_BYTES // 2**20
        body = f'<p class="note">The first {shown} MB. Download the file to see all of it.</p>{body}'
    made = await context.threads.run(partial(page, name, body, dark=dark, wide=wide))
    return Response(made, headers={"Content-Security-Policy": policy()}, media_type="text/html")


def _renderer(name: str, suffix: str) -> tuple[Renderer, bool]:
    """Return what makes HTML of a text, and whether it wants the whole width."""
    if suffix in (".md", ".markdown"):
        return render.markdown, False
    if suffix == ".ipynb":
        return render.notebook, False
    if suffix == ".json":
        return render.formatted_json, True
    if suffix in (".csv", ".tsv"):
        return partial(render.table, delimiter="," if suffix == ".csv" else "\t"), True
    return partial(render.code, filename=name), True


async def _picture(context: Context, resource: Resource, suffix: str, width: int | None) -> Response:
    content = await _content(context, resource, MAX_PICTURE_BYTES, whole=True)
    media_type = PICTURES.get(suffix)
    if suffix != ".svg" and (width is not None or media_type is None):
        content, media_type = await context.shrinker.shrink(content, width or 8192), "image/png"
    headers = {"Content-Security-Policy": PICTURE_POLICY, "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(content, headers=headers, media_type=media_type)


async def _content(context: Context, resource: Resource, limit: int, *, whole: bool = False) -> bytes:
    layout = answers.sliceable(resource)
    if whole and layout.nbytes > limit:
        raise TooLarge(f"files of this kind are shown up to {limit} bytes; download it instead")
    stop = min(layout.nbytes, limit)
    async with aclosing(answers.file_bytes(resource, layout, 0, stop, context.threads)) as body:
        pieces = [piece async for piece in body]
    return b"".join(pieces)
