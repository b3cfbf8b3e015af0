"""What evaluates and sorts inside confined processes (U2, U9); the service talks to it through `workers`.

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

from caterva2.errors import InvalidField, TooLarge
from caterva2_formats.dtypes import parse_dtype

from . import language, terms
from .reductions import reduce_block
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
        """Evaluate a region of an expression, reduce it, or sort values.

        `question` holds ``shapes`` of the arrays in the shared memory, and its ``size``; the results are put behind
        the arrays. The rest is one of

        - ``expression``, ``operands`` (shape and type of each) and ``region``: the arrays are what `Term.reads` asks
          for, then what `Term.lookups` does, and the result is the elements of the region. With ``reduce``, the number
          of one of the reductions, the region is one of its argument, and the results are those of `reduce_block`.
        - ``sort``, a type, and ``descending``: the array is flat, and the result the numbers of its elements in order.
        """
        try:
            self._memory.need(question["size"])
            arrays = _Arrays(self._memory, question["shapes"])
            if "sort" in question:
                values = arrays.take(parse_dtype(question["sort"]))
                results: tuple[Array, ...] = (sorted_places(values, descending=question["descending"]),)
            else:
                results = self._evaluate(question, arrays)
            for result in results:
                if arrays.at + result.nbytes > question["size"]:
                    raise ValueError("the result is larger than was said")
                self._memory.put(arrays.at, result)
                arrays.at = aligned(arrays.at + result.nbytes)
            return {}, b""
        except MemoryError:
            raise TooLarge("what is asked for needs more memory than is allowed; ask for less at once") from None

    def _evaluate(self, question: dict[str, Any], arrays: _Arrays) -> tuple[Array, ...]:
        whole, dtypes = self._bind(question["expression"], question["operands"])
        number = question["reduce"]
        reduction = None if number is None else list(whole.reductions())[number]
        term = whole if reduction is None else reduction.children[0]
        region: Region = tuple((int(start), int(stop)) for start, stop in question["region"])
        reads = [arrays.take(dtypes[read.name]) for read in term.reads(region)]
        looked_up: dict[ReduceTerm, Any] = {inner: _Part(arrays.take(inner.dtype)) for inner, _ in term.lookups(region)}
        found = terms.compute(term, region, reads, looked_up)
        return (found,) if reduction is None else reduce_block(reduction, region, found)

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


def sorted_places(values: Array, *, descending: bool) -> Array:
    """Return the numbers of the elements of a flat array in order, those of equal ones upwards. Raises InvalidField."""
    try:
        if not descending:
            return np.argsort(values, kind="stable")
        # Reversing alone would also turn the order of equal rows round.
        return len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    except TypeError:
        raise InvalidField(f"values of type {values.dtype} have no order") from None


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
        "reduce": None,
        "region": [[0, 4]],
        "shapes": [[4]],
        "size": 128,
    }
    Evaluator(memory).answer(question, b"")
    memory.close()
