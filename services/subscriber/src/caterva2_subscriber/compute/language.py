"""From text to a tree of nodes: the grammar of expressions (U1).

The text is parsed by Python's parser, which runs nothing, and every node that is not on the list below is refused.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from typing import Any

from caterva2.errors import InvalidExpression
from caterva2.slices import Index, Key

from .functions import CONSTRUCTORS, ELEMENTWISE, NAMES, OPERATORS, REDUCERS

MAX_TEXT = 4000
MAX_NODES = 400
MAX_DEPTH = 40
MAX_EXPONENT = 64
MAX_INTEGER = 2**63
MAX_STRING = 200
Scalar = bool | int | float | complex | str | bytes


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a piece of text."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Operand:
    """A dataset, or a part of it."""

    name: str
    key: Key = ()
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Apply:
    """A function or operator, element by element. Operators have the name of their node in Python's grammar."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Reduce:
    """A function that takes axes away."""

    function: str
    argument: Node
    axis: tuple[int, ...] | None = None
    keepdims: bool = False


@dataclass(frozen=True, slots=True)
class Construct:
    """An array that is made of numbers."""

    function: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]


Node = Constant | Operand | Apply | Reduce | Construct


def parse(text: str) -> Node:
    """Return the tree of an expression.

    Raises
    ------
    InvalidExpression
        If the text is not an expression of the language, with a sentence that says why.
    """
    if not text.strip():
        raise InvalidExpression("the expression is empty")
    if len(text) > MAX_TEXT:
        raise InvalidExpression(f"an expression holds at most {MAX_TEXT} characters")
    if not text.isprintable() or "\\" in text:
        raise InvalidExpression("an expression is one line without control characters and backslashes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise InvalidExpression("the syntax is wrong") from None
    return _Reader().read(tree.body, 0)


def names_in(node: Node) -> set[str]:
    """Return the names of the operands of a tree."""
    if isinstance(node, Operand):
        return {node.name}
    if isinstance(node, Apply):
        return set().union(*(names_in(argument) for argument in node.arguments))
    return names_in(node.argument) if isinstance(node, Reduce) else set()


class _Reader:
    def __init__(self) -> None:
        self._count = 0

    def read(self, node: ast.expr, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise InvalidExpression("the expression is too long or nested too deeply")
        depth += 1
        match node:
            case ast.Constant():
                return Constant(_scalar(node.value))
            case ast.Name():
                return self._name(node.id)
            case ast.Subscript(value=ast.Name() as name):
                return _part(Operand(_operand_name(name.id)), node.slice)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Invert()):
                return Apply(type(node.op).__name__, (self.read(node.operand, depth),))
            case ast.BinOp() if type(node.op).__name__ in OPERATORS:
                return self._binary(node, depth)
            case ast.Compare(ops=[comparison]) if type(comparison).__name__ in OPERATORS:
                both = self.read(node.left, depth), self.read(node.comparators[0], depth)
                return Apply(type(comparison).__name__, both)
            case ast.Compare():
                raise InvalidExpression("write comparisons one by one: (a > 1) & (a < 5)")
            case ast.BoolOp():
                raise InvalidExpression("use & and | with parentheses instead of 'and' and 'or'")
            case ast.Call(func=ast.Name() as name):
                return self._call(name.id, node.args, node.keywords, depth)
            case ast.Call(func=ast.Attribute() as method) if method.attr in REDUCERS:
                return self._call(method.attr, [method.value, *node.args], node.keywords, depth)
        raise InvalidExpression(f"{_WORDS.get(type(node), 'this kind of term')} cannot be used in an expression")

    def _name(self, name: str) -> Node:
        return Operand(_operand_name(name))

    def _binary(self, node: ast.BinOp, depth: int) -> Node:
        left, right = self.read(node.left, depth), self.read(node.right, depth)
        if isinstance(node.op, ast.Pow):
            _check_power(left, right)
        return Apply(type(node.op).__name__, (left, right))

    def _call(self, name: str, arguments: list[ast.expr], keywords: list[ast.keyword], depth: int) -> Node:
        if name in ELEMENTWISE:
            return self._elementwise(name, arguments, keywords, depth)
        if name in REDUCERS:
            return self._reduce(name, arguments, keywords, depth)
        if name in CONSTRUCTORS:
            values = tuple(_literal(argument) for argument in arguments)
            return Construct(name, values, tuple((_keyword(word), _literal(word.value)) for word in keywords))
        raise InvalidExpression(f"there is no function '{name[:40]}' in expressions")

    def _elementwise(self, name: str, arguments: list[ast.expr], keywords: list[ast.keyword], depth: int) -> Node:
        arity = ELEMENTWISE[name].arity
        if len(arguments) != arity or keywords:
            raise InvalidExpression(f"{name} takes {arity} argument{'s' if arity > 1 else ''} and no keywords")
        read = tuple(self.read(argument, depth) for argument in arguments)
        if name in ("power", "pow"):
            _check_power(read[0], read[1])
        return Apply(name, read)

    def _reduce(self, name: str, arguments: list[ast.expr], keywords: list[ast.keyword], depth: int) -> Node:
        given = {_keyword(word): _literal(word.value) for word in keywords}
        if len(arguments) == 2 and "axis" not in given:
            given["axis"] = _literal(arguments.pop())
        if len(arguments) != 1 or not given.keys() <= {"axis", "keepdims"}:
            raise InvalidExpression(f"{name} takes one array, and the keywords axis and keepdims")
        return Reduce(
            name, self.read(arguments[0], depth), _axes(given.get("axis")), bool(given.get("keepdims", False))
        )


_WORDS: dict[type[ast.expr], str] = {
    ast.Attribute: "an attribute",
    ast.Subscript: "an index of anything but a dataset",
    ast.Lambda: "a function",
    ast.IfExp: "'if'",
    ast.JoinedStr: "formatted text",
    ast.Call: "a call of anything but a known function",
    ast.ListComp: "a loop",
    ast.GeneratorExp: "a loop",
    ast.Tuple: "a tuple",
    ast.List: "a list",
    ast.NamedExpr: "an assignment",
}


def _operand_name(name: str) -> str:
    if name in NAMES:
        raise InvalidExpression(f"'{name}' is a function and needs its arguments")
    if name.startswith("__"):
        raise InvalidExpression(f"'{name[:40]}' cannot name a dataset")
    return name


def _scalar(value: object) -> Scalar:
    if isinstance(value, (str, bytes)):
        if len(value) > MAX_STRING:
            raise InvalidExpression(f"text in an expression holds at most {MAX_STRING} characters")
        return value
    if not isinstance(value, (bool, int, float, complex)):
        raise InvalidExpression("only numbers and text can be constants")
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise InvalidExpression("integers have at most 63 bits")
    return value


def _check_power(base: Node, exponent: Node) -> None:
    if isinstance(base, Constant):
        raise InvalidExpression("the base of a power must be a dataset, not a number")
    if isinstance(exponent, Apply) and exponent.function in ("USub", "UAdd"):
        exponent = exponent.arguments[0]
    if isinstance(exponent, Constant) and (
        isinstance(exponent.value, (str, bytes)) or abs(exponent.value) > MAX_EXPONENT
    ):
        raise InvalidExpression(f"exponents lie between -{MAX_EXPONENT} and {MAX_EXPONENT}")


def _part(operand: Operand, index: ast.expr) -> Operand:
    if isinstance(index, ast.Constant) and isinstance(index.value, str):
        return Operand(operand.name, field=str(_scalar(index.value)))
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    return Operand(operand.name, tuple(_index(item) for item in items))


def _index(item: ast.expr) -> Index:
    if isinstance(item, ast.Slice):
        start, stop, step = (
            None if bound is None else _integer(bound) for bound in (item.lower, item.upper, item.step)
        )
        if step == 0:
            raise InvalidExpression("the step of a slice cannot be zero")
        return slice(start, stop, step)
    if isinstance(item, ast.Constant) and (item.value is None or item.value is Ellipsis):
        return item.value
    return _integer(item)


def _integer(node: ast.expr) -> int:
    value = _literal(node)
    if type(value) is not int:
        raise InvalidExpression("indices are integers and slices of integers")
    return value


def _axes(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    axes = value if isinstance(value, tuple) else (value,)
    if not all(type(axis) is int for axis in axes):
        raise InvalidExpression("axis is an integer, or several")
    return axes


def _keyword(word: ast.keyword) -> str:
    if word.arg is None:
        raise InvalidExpression("'**' cannot be used in a call")
    return word.arg


def _literal(node: ast.expr) -> Any:
    """Return a number, text, None, or a flat tuple of numbers."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = _scalar(node.operand.value)
        if isinstance(value, (str, bytes)):
            raise InvalidExpression("text has no sign")
        return -value
    if isinstance(node, ast.Constant):
        return None if node.value is None else _scalar(node.value)
    if isinstance(node, (ast.Tuple, ast.List)) and len(node.elts) <= 32:
        return tuple(_literal(item) for item in node.elts if not isinstance(item, (ast.Tuple, ast.List)))
    raise InvalidExpression("this argument must be a number")
