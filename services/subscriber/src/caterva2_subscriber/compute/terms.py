"""Trees of expressions with shapes and types: what they need, what they cost, and their elements in a region.

A *region* is a box of the result: half-open bounds ``(start, stop)`` for each axis. Everything is computed region by
region, so that memory stays bounded whatever the shapes are (U2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from caterva2.errors import InvalidExpression, InvalidSlice, UnsafeContent
from caterva2.slices import Axis, Selection, select
from caterva2_formats.dtypes import check_dtype, parse_dtype

from . import language
from .functions import ELEMENTWISE, OPERATORS

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]
Shape = tuple[int, ...]
Region = tuple[tuple[int, int], ...]
MAX_NDIM = 8
MAX_ELEMENTS = 2**48
"""Elements that the result of an expression may have; what is read of it at once is limited elsewhere."""

_REFUSED = (TypeError, ValueError, OverflowError, ZeroDivisionError)


@dataclass(frozen=True, slots=True)
class ArrayType:
    """Shape and type of a dataset that is an operand."""

    shape: Shape
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Read:
    """A part of an operand that an evaluation needs."""

    name: str
    selection: Selection
    field: str | None


class Values(Protocol):
    """Results of the reductions inside an expression."""

    def __getitem__(self, term: ReduceTerm) -> Array:
        """Return the whole result of a reduction."""
        ...


class Term:
    """A node with its shape and type."""

    shape: Shape = ()
    dtype: Dtype
    children: tuple[Term, ...] = ()

    @property
    def sample(self) -> Any:
        """Something of the same type and number of axes, to try functions on."""
        return np.zeros((1,) * len(self.shape), self.dtype)

    def reads(self, region: Region) -> Iterator[Read]:
        """Yield what `evaluate` needs for a region, in the order in which it takes it."""
        for child in self.children:
            yield from child.reads(_narrowed(region, child.shape))

    def lookups(self, region: Region) -> Iterator[tuple[ReduceTerm, Region]]:
        """Yield the parts of results of reductions that `evaluate` looks up for a region."""
        for child in self.children:
            yield from child.lookups(_narrowed(region, child.shape))

    def evaluate(self, region: Region, arrays: Iterator[Array], values: Values) -> Any:
        """Return the elements of a region."""
        raise NotImplementedError

    def reductions(self) -> Iterator[ReduceTerm]:
        """Yield the reductions of the tree, inner ones first."""
        for child in self.children:
            yield from child.reductions()


class ConstantTerm(Term):
    """A number or a piece of text, which takes the type of what it meets."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.dtype = np.asarray(value).dtype
        if self.dtype.hasobject:
            raise InvalidExpression("a number is too large")

    @property
    def sample(self) -> Any:
        """The value itself."""
        return self.value

    def evaluate(self, region: Region, arrays: Iterator[Array], values: Values) -> Any:
        """Return the value."""
        return self.value


class OperandTerm(Term):
    """A dataset, or a part of it."""

    def __init__(self, node: language.Operand, kind: ArrayType) -> None:
        self.name = node.name
        self.field = node.field
        dtype = kind.dtype
        if node.field is not None:
            if dtype.fields is None or node.field not in dtype.fields:
                raise InvalidExpression(f"'{node.name}' has no field '{node.field[:80]}'")
            dtype = dtype.fields[node.field][0]
        if dtype.subdtype is not None:
            raise InvalidExpression(f"'{node.name}' has elements that are arrays, which expressions cannot work with")
        try:
            self._selection = select(node.key, kind.shape)
        except InvalidSlice as error:
            raise InvalidExpression(str(error)) from None
        self.dtype = dtype
        self.shape = self._selection.shape

    def reads(self, region: Region) -> Iterator[Read]:
        """Yield the part of the dataset that lies in a region."""
        yield Read(self.name, _within(self._selection, region), self.field)

    def evaluate(self, region: Region, arrays: Iterator[Array], values: Values) -> Any:
        """Return what was read."""
        found = next(arrays)
        return found if self.field is None else found[self.field]


class ApplyTerm(Term):
    """A function of terms, element by element."""

    def __init__(self, function: str, children: tuple[Term, ...]) -> None:
        self.children = children
        self._call = OPERATORS[function][0] if function in OPERATORS else ELEMENTWISE[function].call
        try:
            self.shape = np.broadcast_shapes(*(child.shape for child in children))
        except ValueError:
            shapes = " and ".join(str(child.shape) for child in children)
            raise InvalidExpression(f"shapes {shapes} do not fit together") from None
        if len(self.shape) > MAX_NDIM or prod(self.shape) > MAX_ELEMENTS:
            raise InvalidExpression("the result would be too large")
        with np.errstate(all="ignore"):
            try:
                self.dtype = np.asarray(self._call(*(child.sample for child in children))).dtype
            except _REFUSED as error:
                raise InvalidExpression(_first_line(error)) from None

    def evaluate(self, region: Region, arrays: Iterator[Array], values: Values) -> Any:
        """Apply the function to the children's elements."""
        arguments = [child.evaluate(_narrowed(region, child.shape), arrays, values) for child in self.children]
        return self._call(*arguments)


class ReduceTerm(Term):
    """A function that takes axes away. Its whole result is computed once and looked up."""

    def __init__(self, node: language.Reduce, argument: Term) -> None:
        self.children = (argument,)
        self.function = node.function
        self.keepdims = node.keepdims
        ndim = len(argument.shape)
        axes = range(ndim) if node.axis is None else node.axis
        if any(not -ndim <= axis < ndim for axis in axes):
            raise InvalidExpression(
                f"{node.function}: there is no axis {', '.join(map(str, axes))} in {ndim} dimensions"
            )
        self.axes = tuple(sorted({axis % ndim for axis in axes})) if ndim else ()
        if node.axis is not None and len(self.axes) != len(node.axis):
            raise InvalidExpression(f"{node.function}: an axis is named twice")
        self.flat = node.axis is None
        """Whether `argmin` and `argmax` count over the whole array."""
        if self.function in ("argmin", "argmax") and not self.flat and len(self.axes) != 1:
            raise InvalidExpression(f"{self.function} takes one axis")
        if self.function in ("min", "max", "argmin", "argmax") and 0 in (argument.shape[axis] for axis in self.axes):
            raise InvalidExpression(f"{self.function} of nothing")
        self.kept_shape = tuple(1 if axis in self.axes else n for axis, n in enumerate(argument.shape))
        self.shape = (
            self.kept_shape
            if self.keepdims
            else tuple(n for axis, n in enumerate(argument.shape) if axis not in self.axes)
        )
        self.dtype = self._infer(argument)

    def _infer(self, argument: Term) -> Dtype:
        with np.errstate(all="ignore"):
            try:
                return np.asarray(getattr(np, self.function)(np.asarray(argument.sample))).dtype
            except _REFUSED as error:
                raise InvalidExpression(_first_line(error)) from None

    def reads(self, region: Region) -> Iterator[Read]:
        """Yield nothing: the result is at hand."""
        return iter(())

    def lookups(self, region: Region) -> Iterator[tuple[ReduceTerm, Region]]:
        """Yield this one."""
        yield self, region

    def evaluate(self, region: Region, arrays: Iterator[Array], values: Values) -> Any:
        """Return the part of the result that lies in a region."""
        return values[self][slices_of(region)]

    def reductions(self) -> Iterator[ReduceTerm]:
        """Yield the reductions inside the argument, then this one."""
        yield from super().reductions()
        yield self


class ConstructTerm(Term):
    """An array that is made of numbers, one region at a time."""

    def __init__(self, node: language.Construct) -> None:
        try:
            self._start, self._step, self._last, self.shape, self.dtype = _constructed(node)
        except _REFUSED as error:
            raise InvalidExpression(f"{node.function}: {_first_line(error)}") from None
        if len(self.shape) > MAX_NDIM or prod(self.shape) > MAX_ELEMENTS or any(n < 0 for n in self.shape):
            raise InvalidExpression("the result would be too large")

    def evaluate(self, region: Region, arrays: Iterator[Array], values: Values) -> Any:
        """Compute the elements from their numbers in C order."""
        shape = tuple(stop - start for start, stop in region)
        if self._step is None:
            return np.full(shape, self._start, self.dtype)
        flat = np.zeros(shape, np.int64)
        stride = 1
        for axis in range(len(self.shape) - 1, -1, -1):
            numbers = np.arange(*region[axis], dtype=np.int64) * stride
            flat += numbers.reshape((-1,) + (1,) * (len(self.shape) - 1 - axis))
            stride *= self.shape[axis]
        found = (self._start + flat * self._step).astype(self.dtype)
        if self._last is not None:
            found[flat == stride - 1] = self._last
        return found


def _constructed(node: language.Construct) -> tuple[Any, Any, Any, Shape, Dtype]:
    """Return first value, step (None: constant), exact last value, shape and type of a constructor."""
    given = dict(node.keywords)
    arguments = list(node.arguments)
    shape, dtype = given.pop("shape", None), given.pop("dtype", None)
    start: Any
    step: Any = None
    last: Any = None
    if node.function == "linspace":
        start, stop, num, endpoint = _take(
            arguments, given, start=..., stop=..., num=prod(_shape(shape)) if shape is not None else 50, endpoint=True
        )
        step = (stop - start) / max(num - 1 if endpoint else num, 1)
        last = stop if endpoint and num > 1 else None
        found = np.dtype(np.complex128 if isinstance(step, complex) else np.float64)
        length = int(num)
    elif node.function == "arange":
        start, stop, step = _take(arguments, given, start=..., stop=None, step=1)
        start, stop = (0, start) if stop is None else (start, stop)
        length = max(0, int(np.ceil((stop - start) / step)))
        found = np.result_type(*(np.asarray(value).dtype for value in (start, stop, step)))
    else:
        fill = {"zeros": 0.0, "ones": 1.0}.get(node.function)
        if shape is None:
            (shape,) = _take(arguments[:1], {}, shape=...)
            arguments = arguments[1:]
        if fill is None:
            (start,) = _take(arguments, given, fill_value=...)
        else:
            _take(arguments, given)
            start = fill
        found = np.asarray(start).dtype
        length = prod(_shape(shape))
    result = (length,) if shape is None else _shape(shape)
    if prod(result) != length:
        raise ValueError(f"{length} elements do not fill the shape {result}")
    return start, step, last, result, found if dtype is None else _dtype(dtype)


def _take(arguments: list[Any], given: dict[str, Any], **names: Any) -> list[Any]:
    if len(arguments) > len(names) or not given.keys() <= names.keys():
        raise TypeError(f"the arguments are {', '.join(names) or 'none'}, shape and dtype")
    values = {**names, **dict(zip(names, arguments, strict=False)), **given}
    if any(value is ... for value in values.values()):
        raise TypeError(f"the arguments are {', '.join(names)}, shape and dtype")
    return list(values.values())


def _shape(value: Any) -> Shape:
    shape = value if isinstance(value, tuple) else (value,)
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("a shape is one or more integers")
    return shape


def _dtype(text: Any) -> Dtype:
    try:
        return check_dtype(parse_dtype(str(text)))
    except UnsafeContent as error:
        raise ValueError(str(error)) from None


def bind(node: language.Node, operands: Mapping[str, ArrayType]) -> Term:
    """Return a tree with shapes and types, given those of the operands.

    Raises
    ------
    InvalidExpression
        If shapes or types do not fit together, or the result would be too large.
    """
    match node:
        case language.Constant(value):
            return ConstantTerm(value)
        case language.Operand(name):
            if name not in operands:
                raise InvalidExpression(f"{name} is not in the list of available datasets")
            return OperandTerm(node, operands[name])
        case language.Apply(function, arguments):
            return _folded(function, tuple(bind(argument, operands) for argument in arguments))
        case language.Reduce(_, argument):
            return ReduceTerm(node, bind(argument, operands))
        case language.Construct():
            return ConstructTerm(node)


def _folded(function: str, children: tuple[Term, ...]) -> Term:
    """Compute what is made of constants alone: by operators, plain numbers, which take their neighbour's type."""
    term = ApplyTerm(function, children)
    if not all(isinstance(child, ConstantTerm) for child in children):
        return term
    values = [child.sample for child in children]
    try:
        with np.errstate(all="ignore"):
            value = OPERATORS[function][1](*values) if function in OPERATORS else term._call(*values)
    except _REFUSED as error:
        raise InvalidExpression(_first_line(error)) from None
    return ConstantTerm(value)


def slices_of(region: Region) -> tuple[slice, ...]:
    """Return what takes a region out of an array."""
    return tuple(slice(start, stop) for start, stop in region)


def whole(shape: Shape) -> Region:
    """Return the region of everything."""
    return tuple((0, n) for n in shape)


def compute(term: Term, region: Region, arrays: list[Array], values: Values) -> Array:
    """Return the elements of a region, given what `Term.reads` asked for. Blocks; runs in a thread.

    Raises
    ------
    InvalidExpression
        If the values do not allow it: integers to negative powers.
    """
    with np.errstate(all="ignore"):
        try:
            found = np.asarray(term.evaluate(region, iter(arrays), values))
        except _REFUSED as error:
            raise InvalidExpression(_first_line(error)) from None
    shape = tuple(stop - start for start, stop in region)
    return np.broadcast_to(found, shape).astype(term.dtype, copy=False)


def _narrowed(region: Region, shape: Shape) -> Region:
    """Return the part of a child that broadcasts into a region of its parent."""
    own = region[len(region) - len(shape) :]
    return tuple((0, 1) if n == 1 else bounds for bounds, n in zip(own, shape, strict=True))


def _within(selection: Selection, region: Region) -> Selection:
    """Return the part of a selection whose result is a region of the selection's result."""
    bounds = [each for position, each in enumerate(region) if position not in selection.newaxes]
    axes = []
    for axis in selection.axes:
        axes.append(axis if axis.dropped else _part(axis, *bounds.pop(0)))
    return Selection(selection.source_shape, tuple(axes), selection.newaxes)


def _part(axis: Axis, start: int, stop: int) -> Axis:
    count = max(stop - start, 0)
    first = axis.count - stop if axis.flipped else start
    return Axis(axis.start + first * axis.step, axis.step, count, axis.flipped, axis.dropped)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
