"""Pages and files of the GUI. Every screen is one page; which one it shows is in the address."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header
from fastapi.responses import RedirectResponse, Response

from caterva2.errors import NotFound

from ..context import ContextDep
from .bundle import Asset

router = APIRouter(include_in_schema=False)

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""No code and nothing at all from elsewhere, no inline code, no evaluation of text."""

_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": PAGE_POLICY,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}

Coding = Annotated[str, Header(alias="accept-encoding")]


@router.get("/")
@router.get("/d/{path:path}")
@router.get("/login")
@router.get("/register")
@router.get("/forgot-password")
@router.get("/forgot-password-ok")
@router.get("/reset-password/{token}")
@router.get("/account")
@router.get("/admin")
@router.get("/subscriptions")
@router.get("/help")
async def page(context: ContextDep, accept_encoding: Coding = "") -> Response:
    """Answer with the page that draws the GUI."""
    return _send(context.bundle.index, accept_encoding, _PAGE_HEADERS)


@router.get("/assets/{name}")
async def asset(name: str, context: ContextDep, accept_encoding: Coding = "") -> Response:
    """Answer with a file whose name changes with its content."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return _send(context.bundle.get(f"assets/{name}"), accept_encoding, headers)


@router.get("/favicon.svg")
@router.get("/favicon.ico")
async def icon(context: ContextDep, accept_encoding: Coding = "") -> Response:
    """Answer with the sign of the site."""
    return _send(context.bundle.get("favicon.svg"), accept_encoding, {"Cache-Control": "max-age=86400"})


@router.get("/THIRD_PARTY.txt")
async def licences(context: ContextDep, accept_encoding: Coding = "") -> Response:
    """Answer with the licences of what the GUI is built from."""
    return _send(context.bundle.get("THIRD_PARTY.txt"), accept_encoding, {"Cache-Control": "no-cache"})


@router.get("/roots/{path:path}")
async def old_link(path: str, context: ContextDep) -> RedirectResponse:
    """Lead links of the original to the same dataset; the browser keeps the tab, which is behind ``#``."""
    return RedirectResponse(f"{context.bundle.prefix}/d/{quote(path)}", status_code=307)


@router.get("/{name}")
async def unknown(
    name: str, context: ContextDep, accept: Annotated[str, Header()] = "", accept_encoding: Coding = ""
) -> Response:
    """Tell people in a page of the GUI that there is no such page; programs get the answer that they get everywhere."""
    if "text/html" not in accept:
        raise NotFound
    response = _send(context.bundle.index, accept_encoding, _PAGE_HEADERS)
    response.status_code = 404
    return response


def _send(asset: Asset | None, accept_encoding: str, headers: dict[str, str]) -> Response:
    if asset is None:
        raise NotFound
    headers = {**headers, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
    if asset.gzipped is not None and "gzip" in accept_encoding.lower():
        return Response(asset.gzipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)
