"""What expressions may call."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A function that works element by element."""

    call: Function
    arity: int


def _contains(text: Any, part: Any) -> Any:
    return np.strings.find(text, part) >= 0


_UNARY = (
    "sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp expm1 log log1p log10 log2 sqrt square"
    " abs negative positive sign ceil floor trunc isnan isinf isfinite real imag conj reciprocal logical_not"
)
_BINARY = (
    "arctan2 hypot maximum minimum logaddexp copysign nextafter logical_and logical_or logical_xor equal not_equal less"
    " less_equal greater greater_equal add subtract multiply divide floor_divide remainder power"
)

ELEMENTWISE: dict[str, Elementwise] = {
    **{name: Elementwise(getattr(np, name), 1) for name in _UNARY.split()},
    **{name: Elementwise(getattr(np, name), 2) for name in _BINARY.split()},
    "round": Elementwise(np.rint, 1),
    "pow": Elementwise(np.power, 2),
    "where": Elementwise(np.where, 3),
    "clip": Elementwise(np.clip, 3),
    "contains": Elementwise(_contains, 2),
    "startswith": Elementwise(np.strings.startswith, 2),
    "endswith": Elementwise(np.strings.endswith, 2),
}
"""Functions of arrays and numbers, by the name that expressions use."""

OPERATORS: dict[str, tuple[Function, Function]] = {
    "Add": (np.add, operator.add),
    "Sub": (np.subtract, operator.sub),
    "Mult": (np.multiply, operator.mul),
    "Div": (np.divide, operator.truediv),
    "FloorDiv": (np.floor_divide, operator.floordiv),
    "Mod": (np.remainder, operator.mod),
    "Pow": (np.power, operator.pow),
    "BitAnd": (np.bitwise_and, operator.and_),
    "BitOr": (np.bitwise_or, operator.or_),
    "BitXor": (np.bitwise_xor, operator.xor),
    "USub": (np.negative, operator.neg),
    "UAdd": (np.positive, operator.pos),
    "Invert": (np.invert, operator.invert),
    "Eq": (np.equal, operator.eq),
    "NotEq": (np.not_equal, operator.ne),
    "Lt": (np.less, operator.lt),
    "LtE": (np.less_equal, operator.le),
    "Gt": (np.greater, operator.gt),
    "GtE": (np.greater_equal, operator.ge),
}
"""For each operator of Python's grammar: the function for arrays, and the one for two plain numbers."""

REDUCERS = frozenset({"sum", "prod", "min", "max", "mean", "std", "var", "any", "all", "argmin", "argmax"})
CONSTRUCTORS = frozenset({"linspace", "arange", "zeros", "ones", "full"})
NAMES = frozenset(ELEMENTWISE) | REDUCERS | CONSTRUCTORS
