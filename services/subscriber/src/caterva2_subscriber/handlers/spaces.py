"""Writing to ``@public``, ``@shared`` and ``@personal`` (reference API 2.8)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Form, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from caterva2.errors import BadRequest, UnsafeContent

from ..auth.caller import Caller, CallerDep
from ..auth.principal import Principal, RequiredPrincipal
from ..context import Context, ContextDep
from ..spaces.loading import remote_file
from ..spaces.multipart import FIELD, UploadedFile
from ..spaces.store import empty_notebook
from .sending import unless_gone

router = APIRouter(tags=["spaces"])

MULTIPART: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


class Transfer(BaseModel):
    """Where something is, and where it shall be."""

    model_config = ConfigDict(extra="forbid")

    src: str = Field(examples=["@personal/ds.b2nd"])
    dst: str = Field(examples=["@shared/dir/ds.b2nd"])


class UsageShown(BaseModel):
    """Bytes used and allowed; null for no limit."""

    used: int
    limit: int | None


class Usages(BaseModel):
    """What the site and the user use."""

    site: UsageShown
    user: UsageShown


async def uploaded(request: Request) -> UploadedFile:
    """Return the file that a request brings, as far as its name. Raises BadRequest."""
    upload = UploadedFile(request.headers.get("content-type", ""), request.stream())
    if not await upload.start():
        problem = {"type": "missing", "loc": ["body", FIELD], "msg": "Field required", "input": None}
        raise HTTPException(422, [problem])
    return upload


async def note(context: Context, action: str, principal: Principal, caller: Caller, target: str) -> None:
    """Write down what was done to a path."""
    await context.accounts.audit.record(action, principal.name, caller, target=target)


@contextlib.asynccontextmanager
async def refusals_noted(
    context: Context, action: str, principal: Principal, caller: Caller, target: str
) -> AsyncIterator[None]:
    """Write down that bytes from elsewhere were refused in this block, and why (F20)."""
    try:
        yield
    except UnsafeContent as error:
        audit = context.accounts.audit
        await audit.record(action, principal.name, caller, target=target, result="refused", detail=error.detail)
        raise


@router.post("/api/upload/{path:path}", openapi_extra=MULTIPART)
async def upload(
    context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, request: Request, path: str
) -> str:
    """Store a file, in place of what is there; return its path."""
    file = await uploaded(request)
    async with refusals_noted(context, "upload", principal, caller, path):
        stored = await context.spaces.upload(principal, path, file.filename, file)
    await note(context, "upload", principal, caller, stored)
    return stored


@router.post("/api/load_from_url/{path:path}")
async def load_from_url(
    context: ContextDep,
    principal: RequiredPrincipal,
    caller: CallerDep,
    request: Request,
    path: str,
    remote_url: Annotated[str, Form(max_length=2000, examples=["https://data.example.org/run7.b2nd"])],
) -> str:
    """Download a file and store it as if it had been uploaded; return its path.

    Only from hosts that the settings of this site list; without such a list never.
    """
    await context.spaces.target(principal, path)

    async def load() -> str:
        async with remote_file(remote_url, context.settings.load_from_url) as file:
            return await context.spaces.upload(principal, path, file.name, file.content)

    async with refusals_noted(context, "upload", principal, caller, path):
        stored = await unless_gone(request, load())
    await note(context, "upload", principal, caller, f"{stored} from {httpx.URL(remote_url).host}")
    return stored


@router.post("/api/remove/{path:path}")
async def remove(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, path: str) -> str:
    """Remove a file, or a directory with all that is in it; return the path."""
    removed = await context.spaces.remove(principal, path)
    await note(context, "remove", principal, caller, path)
    return removed


@router.post("/api/move/")
async def move(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, body: Transfer) -> str:
    """Move a file or directory; return its new path."""
    moved = await context.spaces.move(principal, body.src, body.dst)
    await note(context, "move", principal, caller, f"{body.src} -> {moved}")
    return moved


@router.post("/api/copy/")
async def copy(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, body: Transfer) -> str:
    """Copy a file or directory of any root; return its new path."""
    copied = await context.spaces.copy(principal, body.src, body.dst)
    await note(context, "copy", principal, caller, f"{body.src} -> {copied}")
    return copied


@router.post("/api/addnotebook/{path:path}")
async def add_notebook(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, path: str) -> str:
    """Make an empty notebook; return its path."""
    if PurePosixPath(path).suffix != ".ipynb":
        raise BadRequest("Notebooks must end with the .ipynb extension")
    added = await context.spaces.write_plain(principal, path, empty_notebook(), exist_ok=False)
    await note(context, "upload", principal, caller, added)
    return added


@router.get("/api/usage")
async def usage(context: ContextDep, principal: RequiredPrincipal) -> Usages:
    """Bytes on disk of the site's spaces and of the user's own."""
    site, user = await context.spaces.usage(principal)
    return Usages(
        site=UsageShown(used=site.used_bytes, limit=site.limit_bytes),
        user=UsageShown(used=user.used_bytes, limit=user.limit_bytes),
    )
