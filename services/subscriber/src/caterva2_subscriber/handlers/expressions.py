"""New datasets made of others (reference API 2.8, 6.2)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from caterva2.errors import BadRequest
from caterva2.paths import ARRAY_SUFFIX, PERSONAL

from ..auth.caller import CallerDep
from ..auth.principal import RequiredPrincipal
from ..context import ContextDep
from .spaces import MULTIPART, note, refusals_noted, uploaded

router = APIRouter(tags=["expressions"])


class NewExpression(BaseModel):
    """An expression over datasets. Later clients of the original also send `func`, `dtype` and `shape`."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = Field(default=None, max_length=1000, examples=["sum"])
    expression: str | None = Field(default=None, max_length=10_000, examples=["a + 2 * b"])
    operands: dict[str, str] = Field(default_factory=dict, examples=[{"a": "@public/a.b2nd", "b": "foo/b.b2nd"}])
    """API path of the dataset behind each name."""
    compute: bool = False
    """Store the value instead of the expression."""
    func: str | None = None
    """Not supported: source code of users is never run here."""


class Joining(BaseModel):
    """Arrays to join, and where the result goes."""

    model_config = ConfigDict(extra="forbid")

    srcs: list[str] = Field(max_length=1000, examples=[["@public/a.b2nd", "@public/b.b2nd"]])
    dst: str = Field(examples=["@personal/joined.b2nd"])
    axis: int = 0


def _text(body: NewExpression) -> str:
    if body.func is not None:
        raise BadRequest("Functions in Python are not run here; use an expression")
    return body.expression or ""


@router.post("/api/lazyexpr/")
async def add_expression(
    context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, body: NewExpression
) -> str:
    """Store an expression, or its value, in ``@personal``; return its path."""
    if not body.name:
        raise BadRequest("Invalid name or expression: the name is empty")
    path = f"{PERSONAL}/{body.name.removesuffix(ARRAY_SUFFIX)}{ARRAY_SUFFIX}"
    made = await context.builder.expression(principal, path, _text(body), body.operands, compute=body.compute)
    await note(context, "expression", principal, caller, made)
    return made


@router.post("/api/upload_lazyarr/{path:path}")
async def upload_expression(
    context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, path: str, body: NewExpression
) -> str:
    """Store an expression, or its value, at a path that ends in ``.b2nd``; return the path."""
    made = await context.builder.expression(principal, path, _text(body), body.operands, compute=body.compute)
    await note(context, "expression", principal, caller, made)
    return made


@router.post("/api/concat/")
async def concatenate(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, body: Joining) -> str:
    """Join arrays along an axis that they have; return the path of the result."""
    made = await context.builder.join(principal, body.srcs, body.dst, body.axis, stack=False)
    await note(context, "upload", principal, caller, made)
    return made


@router.post("/api/stack/")
async def stack(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, body: Joining) -> str:
    """Join arrays along a new axis; return the path of the result."""
    made = await context.builder.join(principal, body.srcs, body.dst, body.axis, stack=True)
    await note(context, "upload", principal, caller, made)
    return made


@router.post("/api/append/{path:path}", openapi_extra=MULTIPART)
async def append(
    context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, request: Request, path: str
) -> list[int]:
    """Grow an array along its first axis by an uploaded frame; return its new shape."""
    file = await uploaded(request)
    async with refusals_noted(context, "append", principal, caller, path):
        shape = await context.builder.append(principal, path, file)
    await note(context, "append", principal, caller, path)
    return shape


@router.post("/api/unfold/{path:path}")
async def unfold(context: ContextDep, principal: RequiredPrincipal, caller: CallerDep, path: str) -> str:
    """Make a directory beside an HDF5 file, zip or tar archive, with what is in it; return the directory's name."""
    async with refusals_noted(context, "unfold", principal, caller, path):
        name = await context.builder.unfold(principal, path)
    await note(context, "unfold", principal, caller, path)
    return name
