"""What evaluates expressions inside confined processes (U2, U9); the service talks to it through `workers`.

The text of an expression is parsed and bound here again, so that what crosses the border are texts, numbers and the
elements of operands. Nothing here opens a file or keeps anything of a reader but expressions that were bound.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from caterva2.errors import TooLarge
from caterva2_formats.dtypes import parse_dtype

from . import language, terms
from .shared import SharedMemory, aligned
from .terms import Array, ArrayType, Dtype, ReduceTerm, Region, Shape, Term

KEPT = 32
"""Expressions that stay bound."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a reduction's result that one evaluation looks up."""

    elements: Array

    def __getitem__(self, _region: Any) -> Array:
        return self.elements


class Evaluator:
    """Evaluates regions of expressions."""

    def __init__(self, memory: SharedMemory) -> None:
        self.measures: list[str] = []
        self._memory = memory
        self._bound: OrderedDict[str, tuple[Term, dict[str, Dtype]]] = OrderedDict()

    def answer(self, question: dict[str, Any], _content: bytes) -> tuple[dict[str, Any], bytes]:
        """Evaluate a region of an expression, or of what one of its reductions takes in.

        `question` holds the expression, shape and type of its operands, the region, and the shapes of the arrays in
        the shared memory: what `Term.reads` asks for, then what `Term.lookups` does. The result is put behind them.
        """
        try:
            term, dtypes = self._bind(question["expression"], question["operands"])
            if question["argument_of"] is not None:
                term = list(term.reductions())[question["argument_of"]].children[0]
            region: Region = tuple((int(start), int(stop)) for start, stop in question["region"])
            self._memory.need(question["size"])
            arrays = _Arrays(self._memory, question["shapes"])
            reads = [arrays.take(dtypes[read.name]) for read in term.reads(region)]
            looked_up: dict[ReduceTerm, Any] = {
                reduction: _Part(arrays.take(reduction.dtype)) for reduction, _ in term.lookups(region)
            }
            found = terms.compute(term, region, reads, looked_up)
            if arrays.at + found.nbytes > question["size"]:
                raise ValueError("the result is larger than was said")
            self._memory.put(arrays.at, found)
            return {}, b""
        except MemoryError:
            raise TooLarge("the expression needs more memory than is allowed; ask for less at once") from None

    def _bind(self, expression: str, operands: dict[str, Any]) -> tuple[Term, dict[str, Dtype]]:
        key = json.dumps([expression, operands])
        found = self._bound.get(key)
        if found is None:
            kinds = {name: ArrayType(tuple(shape), parse_dtype(dtype)) for name, (shape, dtype) in operands.items()}
            term = terms.bind(language.parse(expression), kinds)
            found = self._bound[key] = term, {name: kind.dtype for name, kind in kinds.items()}
            while len(self._bound) > KEPT:
                self._bound.popitem(last=False)
        self._bound.move_to_end(key)
        return found


class _Arrays:
    """Arrays that lie behind each other."""

    def __init__(self, memory: SharedMemory, shapes: list[list[int]]) -> None:
        self._memory = memory
        self._shapes: Iterator[Shape] = iter([tuple(shape) for shape in shapes])
        self.at = 0

    def take(self, dtype: Dtype) -> Array:
        """Return the next array."""
        found = self._memory.get(self.at, next(self._shapes), dtype)
        self.at = aligned(self.at + found.nbytes)
        return found


def serve(fd: int) -> Evaluator:
    """Return what answers in a confined process, where `fd` is the memory that it shares."""
    return Evaluator(SharedMemory(fd))


def warm_up() -> None:
    """Load what evaluations need."""
    memory = SharedMemory()
    memory.need(128)
    memory.put(0, np.arange(4.0))
    question = {
        "expression": "sqrt(a) + 1",
        "operands": {"a": [[4], "float64"]},
        "argument_of": None,
        "region": [[0, 4]],
        "shapes": [[4]],
        "size": 128,
    }
    Evaluator(memory).answer(question, b"")
    memory.close()
