"""T2: texts of every kind as expressions. What is accepted is of the grammar, and nothing happens over any of them.

The strings come from a seeded generator of our own: hypothesis, which keeps an account of each, would take hours for a
million of them.
"""

from __future__ import annotations

import ast
import random
import string
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from caterva2.errors import InvalidExpression
from caterva2_subscriber.compute import language, terms
from caterva2_subscriber.compute.terms import ArrayType
from tests.security.mutants import effort

KINDS = {"a": ArrayType((4, 6), np.dtype(np.float64)), "n": ArrayType((6,), np.dtype(np.int64))}
STRINGS_PER_EFFORT = 100

UNARY = [
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
    "exp", "expm1", "log", "log1p", "log10", "log2", "sqrt", "square", "abs", "negative", "positive", "sign",
    "ceil", "floor", "trunc", "round", "isnan", "isinf", "isfinite", "real", "imag", "conj", "reciprocal",
    "logical_not",
]  # fmt: skip
BINARY = [
    "arctan2", "hypot", "maximum", "minimum", "logaddexp", "copysign", "nextafter", "logical_and", "logical_or",
    "logical_xor", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "add", "subtract",
    "multiply", "divide", "floor_divide", "remainder", "power", "pow", "contains", "startswith", "endswith",
]  # fmt: skip
REDUCERS = ["sum", "prod", "min", "max", "mean", "std", "var", "any", "all", "argmin", "argmax"]
CONSTRUCTORS = ["linspace", "arange", "zeros", "ones", "full"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "&", "|", "^", "==", "!=", "<", "<=", ">", ">="]
LEAVES = ["a", "n", "a[1:3]", "a[::-1]", "n[2]", "a[0, 1:]", "a[..., None]", "1", "2.5", "True", "1j", "-3"]
AXES = ["", ", axis=0", ", axis=-1, keepdims=True", ", axis=(0, 1)"]
OTHERS = ["(a ** 2)", "(n ** -1)", "(a ** 99)", "(n ** 0.5)", "arange(6)", "a.sum()", "ones((4, 6))"]
FUNCTIONS = {*UNARY, *BINARY, *REDUCERS, *CONSTRUCTORS, "where", "clip"}
"""Everything that may be called: the allow-list once more, so that nothing joins it unnoticed."""

FORBIDDEN_NODES = (
    ast.Lambda, ast.IfExp, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Await,
    ast.Yield, ast.YieldFrom, ast.FormattedValue, ast.JoinedStr, ast.Starred, ast.NamedExpr, ast.BoolOp, ast.MatMult,
    ast.LShift, ast.RShift, ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.Not,
)  # fmt: skip
WATCHED = frozenset({"open", "os", "subprocess", "socket", "import", "exec", "ctypes", "shutil", "tempfile", "mmap"})

HOSTILE = [
    "__import__('os').system('true')", "exec('1')", "eval('1')", "open('/etc/passwd')", "().__class__",
    "__builtins__", "a.save('/x')", "a.tofile('x')", "np.load('x')", "lambda: a", "f'{a}'", "remove_urlpath('/x')",
    "globals()", "9**9**9", "a[exec('1')]", "a.sum().tofile", "[a for a in a]", "(b:=a)", "*a", "**a", "'x'*99999999",
    "a@a", "a<<99", "None",
]  # fmt: skip
WORDS = [
    "a", "n", "b", "sum", "sin", "where", "clip", "exec", "eval", "__import__", "os", "open", "lambda", ".", "(", ")",
    "[", "]", "{", "}", ",", ":", "'", "\"", "+", "-", "**", "*", "/", "//", "%", "&", "|", "^", "~", "@", "=", "==",
    "!=", "<", ">", "<=", ">=", ":=", "if", "else", "for", "in", "not", "and", "or", "is", "f'", "b'", "1", "99999",
    "0", "-1", "1e9", "1e999", "0x", "0b1", "j", "1j", ";", "\\", "!", "$", "?", "`", "#", "_", "__", "axis",
    "keepdims", "dtype", "shape", "None", "True", "Ellipsis", "...", " ", "\t", "\n", "\u0000", "\uff41", "\u202e",
]  # fmt: skip


@pytest.mark.timeout(3600)
def test_t2_any_text_is_an_expression_of_the_grammar_or_refused() -> None:
    count = effort(150) * STRINGS_PER_EFFORT
    outcomes: Counter[str] = Counter()
    with watching() as seen:
        for text in texts(count, seed=2):
            try:
                term = terms.bind(language.parse(text), KINDS)
            except InvalidExpression:
                outcomes["refused"] += 1
                continue
            outcomes["accepted"] += 1
            check_is_of_the_grammar(text)
            assert not term.dtype.hasobject, text
            assert seen == [], text
    print(dict(outcomes))
    assert seen == []
    assert outcomes["refused"] > count // 10
    assert outcomes["accepted"] > count // 10


def check_is_of_the_grammar(text: str) -> None:
    """Compare an accepted text with what the design allows, without help of what accepted it."""
    tree = ast.parse(text.strip(), mode="eval")
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        assert not isinstance(node, FORBIDDEN_NODES), text
        if isinstance(node, ast.Attribute):
            assert id(node) in called, text
            assert node.attr in REDUCERS, text
        elif isinstance(node, ast.Name):
            assert node.id in (FUNCTIONS if id(node) in called else KINDS), text
        elif isinstance(node, ast.Subscript):
            assert isinstance(node.value, ast.Name), text
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            assert not isinstance(node.left, ast.Constant), text


@contextmanager
def watching() -> Iterator[list[str]]:
    """Collect what the interpreter does meanwhile that an expression has no business with."""
    seen: list[str] = []
    active = True

    def watch(event: str, _arguments: Any) -> None:
        if active and event.split(".")[0] in WATCHED:
            seen.append(event)

    sys.addaudithook(watch)
    try:
        yield seen
    finally:
        active = False


def texts(count: int, *, seed: int) -> Iterator[str]:
    """Yield expressions, expressions with something in them that does not belong there, and nonsense."""
    random_ = random.Random(seed)
    for _ in range(count):
        match random_.randrange(4):
            case 0:
                yield expression(random_, 3)
            case 1:
                yield spoiled(random_, expression(random_, 3))
            case 2:
                yield "".join(random_.choices(WORDS, k=random_.randrange(12)))
            case _:
                yield "".join(random_.choices(string.printable, k=random_.randrange(30)))


def expression(random_: random.Random, depth: int) -> str:
    """Return a text of the grammar, though shapes and types may not fit."""
    choose = random_.choice
    if depth == 0 or random_.random() < 0.2:
        return choose(LEAVES)

    def inner() -> str:
        return expression(random_, depth - 1)

    match random_.randrange(7):
        case 0 | 1:
            return f"({inner()} {choose(OPERATORS)} {inner()})"
        case 2:
            return f"{choose(UNARY)}({inner()})"
        case 3:
            return f"{choose(BINARY)}({inner()}, {inner()})"
        case 4:
            return f"{choose(REDUCERS)}({inner()}{choose(AXES)})"
        case 5:
            return f"{choose(['where', 'clip'])}({inner()}, {inner()}, {inner()})"
        case _:
            return choose(OTHERS)


def spoiled(random_: random.Random, text: str) -> str:
    """Return a text of the grammar with something hostile inside, or with something missing."""
    position = random_.randrange(len(text) + 1)
    match random_.randrange(4):
        case 0:
            return text[:position] + random_.choice(HOSTILE) + text[position:]
        case 1:
            return text.replace(random_.choice("an1(,"), random_.choice(HOSTILE), 1)
        case 2:
            return text[:position] + random_.choice(WORDS) + text[position:]
        case _:
            return text[:position] + text[position + random_.randrange(1, 4) :]
