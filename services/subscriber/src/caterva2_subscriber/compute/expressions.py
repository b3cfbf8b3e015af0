"""Expressions that are stored, as resources that readers can open."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from caterva2.errors import ChunkNotFound, InvalidExpression, NotAuthenticated, NotFound, TooLarge, UnsafeContent
from caterva2.slices import Selection
from caterva2.wire import Kind
from caterva2_formats.assemble import answer_layout
from caterva2_formats.base import Layout, Skeleton
from caterva2_formats.chunks import pack_chunk
from caterva2_formats.dtypes import check_dtype, parse_dtype
from caterva2_formats.frames import array_layout
from caterva2_formats.info import timestamp
from caterva2_service.threads import Threads

from ..auth.principal import Principal
from ..library import Freshness, Library, Resource, Usage
from ..reading import MAX_READ_BYTES
from ..spaces.records import ExpressionRecord
from . import language, terms
from .blocks import ahead, block_shape, regions, write_array
from .reductions import Accumulator, partial_dtypes, partial_shape
from .shared import places
from .terms import Array, ArrayType, ReduceTerm, Region, Term
from .workers import Workers

MAX_OPERANDS = 16
MAX_NESTING = 8
"""Expressions of expressions of ... so deep are taken for circular."""
DEADLINE_S = 60.0
"""Longest time that one piece of an answer is computed for."""
MAX_COMPUTED_BYTES = 64 * 2**30

_depth: ContextVar[int] = ContextVar("expression_depth", default=0)


@dataclass(frozen=True, slots=True)
class Missing:
    """Operands that are not there, or not for this reader."""

    operands: dict[str, str]


@dataclass(slots=True)
class Bound:
    """An expression with its operands opened."""

    term: Term
    operands: dict[str, Resource]
    layout: Layout
    threads: Threads
    expression: str
    workers: Workers
    values: dict[ReduceTerm, Array] = field(default_factory=dict)
    _reducing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def block(self) -> tuple[int, ...]:
        """Shape of the pieces in which the result is computed."""
        return block_shape(self.layout.shape, self.layout.chunks, self.layout.typesize)

    async def region(self, region: Region) -> Array:
        """Return the elements of a region. Raises InvalidExpression if the values do not allow it."""
        await self._reduce_all()
        shape = tuple(stop - start for start, stop in region)
        found = await self._evaluate(self.term, region, prod(shape) * self.term.dtype.itemsize)
        return _array(found, 0, shape, self.term.dtype)

    async def _evaluate(self, term: Term, region: Region, nbytes: int, *, reduce: int | None = None) -> bytes:
        """Have a region of the expression computed, or that of a reduction's argument reduced, elsewhere (U2)."""
        arrays = [await self._read(read) for read in term.reads(region)]
        for reduction, part in term.lookups(region):
            arrays.append(np.asarray(self.values[reduction][terms.slices_of(part)]))
        question = {
            "expression": self.expression,
            "operands": {name: _described(resource) for name, resource in self.operands.items()},
            "reduce": reduce,
            "region": region,
        }
        return await self.workers.evaluate(question, arrays, nbytes)

    async def _read(self, read: terms.Read) -> Array:
        return np.asarray(await self.operands[read.name].read(read.selection))

    async def _reduce_all(self) -> None:
        async with self._reducing:
            for number, term in enumerate(self.term.reductions()):
                if term not in self.values:
                    self.values[term] = await self._reduce(number, term)

    async def _reduce(self, number: int, term: ReduceTerm) -> Array:
        argument = term.children[0]
        if int(np.prod(term.kept_shape)) * term.dtype.itemsize > MAX_READ_BYTES:
            raise TooLarge(f"the result of {term.function} inside the expression is too large")
        accumulator = await self.threads.run(Accumulator, term)
        block = block_shape(argument.shape, self._chunks_like(argument.shape), argument.dtype.itemsize)

        dtypes = partial_dtypes(term)

        async def reduced(region: Region) -> list[Array]:
            shape = partial_shape(term, region)
            *at, nbytes = places(prod(shape) * dtype.itemsize for dtype in dtypes)
            found = await self._evaluate(argument, region, nbytes, reduce=number)
            return [_array(found, place, shape, dtype) for place, dtype in zip(at, dtypes, strict=True)]

        async with aclosing(ahead(reduced, regions(argument.shape, block))) as pieces:
            async for region, parts in pieces:
                await self.threads.run(accumulator.add, region, parts)
        return await self.threads.run(accumulator.result)

    def _chunks_like(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for resource in self.operands.values():
            if resource.layout is not None and resource.layout.shape == shape:
                return resource.layout.chunks
        return shape


class Expressions:
    """Opens expressions.

    Parameters
    ----------
    library
        Where operands are looked up, with the rights of whoever reads.
    workers
        Confined processes that evaluate.
    """

    def __init__(self, library: Library, threads: Threads, workers: Workers) -> None:
        self._library = library
        self._threads = threads
        self._workers = workers

    async def resource(
        self, principal: Principal, path: str, record: ExpressionRecord, *, etag: str, mtime: float
    ) -> Resource:
        """Return the expression at `path` as a resource."""
        info: dict[str, Any]
        try:
            bound = await self.bind(principal, record.expression, record.operands)
        except InvalidExpression as error:
            info = {"mtime": timestamp(mtime), "error": error.detail, "expr": record.expression}
            return ExpressionResource(path, None, info, etag=etag, mtime=mtime)
        if isinstance(bound, Missing):
            info = {
                "mtime": None,
                "error": "Lazy expression with missing operands",
                "expr": record.expression,
                "missing_ops": bound.operands,
            }
            return ExpressionResource(path, None, info, etag=etag, mtime=mtime)
        info = {
            "shape": list(bound.layout.shape),
            "dtype": bound.layout.dtype,
            "expression": record.expression,
            "operands": record.operands,
            "mtime": timestamp(mtime),
        }
        versions = [etag, *(operand.etag for operand in bound.operands.values())]
        version = hashlib.blake2b(" ".join(versions).encode(), digest_size=16).hexdigest()
        return ExpressionResource(path, bound, info, etag=version, mtime=mtime)

    async def bind(self, principal: Principal, expression: str, operands: Mapping[str, str]) -> Bound | Missing:
        """Open the operands of an expression and work out shape and type of its result.

        Raises
        ------
        InvalidExpression
            If the expression is not allowed, or does not fit its operands.
        """
        node = language.parse(expression)
        names = sorted(language.names_in(node))
        for name in names:
            if name not in operands:
                raise InvalidExpression(f"{name} is not in the list of available datasets")
        if len(names) > MAX_OPERANDS:
            raise InvalidExpression(f"an expression has at most {MAX_OPERANDS} operands")
        opened, missing = await self._open({name: operands[name] for name in names}, principal)
        if missing:
            return Missing(missing)
        kinds = {name: _array_type(resource) for name, resource in opened.items()}
        term = terms.bind(node, kinds)
        return Bound(term, opened, _layout(term, opened), self._threads, expression, self._workers)

    async def _open(self, operands: dict[str, str], principal: Principal) -> tuple[dict[str, Resource], dict[str, str]]:
        if _depth.get() >= MAX_NESTING:
            raise InvalidExpression(f"expressions are nested more than {MAX_NESTING} deep, or go round in a circle")
        token = _depth.set(_depth.get() + 1)
        opened: dict[str, Resource] = {}
        missing: dict[str, str] = {}
        try:
            for name, path in operands.items():
                try:
                    opened[name] = await self._library.open(principal, path)
                except (NotFound, NotAuthenticated):
                    missing[name] = path
        finally:
            _depth.reset(token)
        return opened, missing

    async def store(self, bound: Bound, staged: Path) -> None:
        """Write the evaluated expression as a file. Raises TooLarge, InvalidExpression."""
        if bound.layout.nbytes > MAX_COMPUTED_BYTES:
            raise TooLarge(f"the result has {bound.layout.nbytes} bytes; at most {MAX_COMPUTED_BYTES} are computed")
        await write_array(staged, bound.layout, bound.region, self._threads)


def _array(content: bytes, at: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    count = prod(shape)
    return np.frombuffer(content, dtype, count, at).reshape(shape) if count else np.empty(shape, dtype)


def _described(resource: Resource) -> tuple[tuple[int, ...], str]:
    assert resource.layout is not None, "operands without a layout are refused"
    return resource.layout.shape, resource.layout.dtype


def _array_type(resource: Resource) -> ArrayType:
    if resource.layout is None:
        raise InvalidExpression(f"{resource.path} cannot be read: {resource.info.get('error', 'it is no dataset')}")
    if resource.kind is not Kind.ARRAY:
        raise InvalidExpression(f"{resource.path} is not an array")
    return ArrayType(resource.layout.shape, parse_dtype(resource.layout.dtype))


def _layout(term: Term, operands: Mapping[str, Resource]) -> Layout:
    """Return the layout of a result: chunks as those of an operand of the same shape, where there is one."""
    try:
        dtype = check_dtype(term.dtype)
        for resource in operands.values():
            like = resource.layout
            if like is not None and like.shape == term.shape and term.shape:
                return array_layout(like.shape, like.chunks, like.blocks, str(dtype))
        return answer_layout(term.shape, dtype)
    except UnsafeContent as error:
        raise InvalidExpression(str(error)) from None


class ExpressionResource:
    """One state of an expression and its operands; see `library.Resource`."""

    kind = Kind.ARRAY

    def __init__(
        self, path: str, bound: Bound | None, info: Mapping[str, Any], *, etag: str, mtime: float | None
    ) -> None:
        self.path = path
        self.etag = etag
        self.mtime = mtime
        self.layout: Layout | None = bound.layout if bound is not None else None
        self.info: Mapping[str, Any] = {**info, "version": etag} if bound is not None else info
        self._bound = bound

    @property
    def freshness(self) -> Freshness:
        """That of the operand that is least fresh."""
        found = [operand.freshness for operand in self._operands]
        stale = [each.stale_s for each in found if each.stale_s is not None]
        return Freshness(max((each.verified_age_s for each in found), default=0.0), max(stale, default=None))

    @property
    def usage(self) -> Usage:
        """What the operands took from the cache and over the link."""
        usages = [operand.usage for operand in self._operands]
        states = [usage.cache_state for usage in usages if usage.cache_state is not None]
        return Usage(
            usages[0].reader if usages else "",
            sum(usage.link_bytes for usage in usages),
            sum(usage.cache_bytes for usage in usages),
            states[0] if states else None,
        )

    @property
    def _operands(self) -> list[Resource]:
        return list(self._bound.operands.values()) if self._bound is not None else []

    async def chunk(self, nchunk: int) -> bytes:
        """Return a chunk of the result, compressed. Raises ChunkNotFound."""
        bound = self._wanted()
        if not 0 <= nchunk < bound.layout.nchunks:
            raise ChunkNotFound(f"there is no chunk {nchunk}: the dataset has {bound.layout.nchunks}")
        grid = tuple(-(-n // c) for n, c in zip(bound.layout.shape, bound.layout.chunks, strict=True))
        index = np.unravel_index(nchunk, grid) if grid else ()
        triples = zip(index, bound.layout.chunks, bound.layout.shape, strict=True)
        region = tuple((int(i) * c, min((int(i) + 1) * c, n)) for i, c, n in triples)
        async with _deadline():
            return await bound.threads.run(pack_chunk, await bound.region(region), bound.layout)

    async def chunks(self, numbers: Iterable[int]) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield chunks of the result, compressed, in the order asked for."""
        async with aclosing(ahead(self.chunk, numbers)) as found:
            async for numbered in found:
                yield numbered

    async def skeleton(self) -> Skeleton | None:
        """Return None: the result is not stored."""
        return None

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return nothing: chunks of the result never come over the link."""
        return []

    @property
    def chunk_cbytes(self) -> int:
        """Bytes of a chunk of the result."""
        return self._wanted().layout.chunksize

    def link_bytes(self, selection: Selection) -> int:
        """Return 0: the result never comes over the link."""
        return 0

    async def read(self, selection: Selection, *, alone: bool = False) -> Array:
        """Return the selected elements. Raises TooLarge, InvalidExpression."""
        bound = self._wanted()
        if selection.size * bound.layout.typesize > MAX_READ_BYTES:
            raise TooLarge(f"at most {MAX_READ_BYTES} bytes can be worked with at once")
        box = np.empty(selection.box, parse_dtype(bound.layout.dtype))
        block = bound.block

        async def place(part: tuple[Region, Any, Any]) -> None:
            region, source, target = part
            found = await bound.region(region)
            box[(*target, ...)] = found[(*source, ...)]

        async with _deadline(), aclosing(ahead(place, _parts(selection, block))) as done:
            async for _ in done:
                pass
        return box[(*selection.finish, ...)]

    def _wanted(self) -> Bound:
        if self._bound is None:
            raise InvalidExpression(f"{self.path} cannot be evaluated: {self.info.get('error')}")
        return self._bound


def _parts(selection: Selection, block: tuple[int, ...]) -> Iterable[tuple[Region, Any, Any]]:
    """Yield, for each block that a selection meets: the region to compute, what to take of it, and where it goes."""
    grid = tuple(-(-n // b) for n, b in zip(selection.source_shape, block, strict=True))
    for part in selection.parts(block):
        origin = [int(i) * b for i, b in zip(np.unravel_index(part.nchunk, grid) if grid else (), block, strict=True)]
        region = tuple((o + each.start, o + each.stop) for o, each in zip(origin, part.source, strict=True))
        yield region, tuple(slice(None, None, each.step) for each in part.source), part.target


class _deadline:
    """Ends a computation that takes too long. Raises TooLarge."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(DEADLINE_S)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        try:
            await self._timeout.__aexit__(*exc)
        except TimeoutError:
            raise TooLarge(f"the expression takes longer than {DEADLINE_S:.0f} s; ask for less at once") from None
