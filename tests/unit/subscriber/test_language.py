"""What expressions may not say (U1)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from caterva2.errors import InvalidExpression
from caterva2_subscriber.compute import language, terms
from caterva2_subscriber.compute.language import MAX_DEPTH, MAX_NODES, MAX_TEXT
from caterva2_subscriber.compute.terms import ArrayType

KINDS = {"a": ArrayType((4, 6), np.dtype(np.float64)), "n": ArrayType((6,), np.dtype(np.int64))}

ATTACKS = [
    "__import__('os').system('true')",
    'a + exec(\'open("x", "w")\')',
    "a + eval('1')",
    "a + len(f'{a}')",
    "a[exec('1')]",
    "a[__import__('os')]",
    "a + remove_urlpath('/path/victim')",
    "a.save('/path')",
    "a.copy(urlpath='/path', mode='w')",
    "a.__class__",
    "a.__class__.__mro__[1].__subclasses__()",
    "().__class__.__bases__[0]",
    "np.load('x')",
    "open('/etc/passwd').read()",
    "globals()",
    "locals()['a']",
    "getattr(a, 'tofile')('x')",
    "vars(a)",
    "type(a)",
    "(lambda: a)()",
    "[a for a in (1,)]",
    "{a: a for a in (1,)}",
    "{a}",
    "(a for a in (1,))",
    "a if a else a",
    "a and a",
    "not a",
    "1 < a < 2",
    "a is a",
    "a in a",
    "(b := a)",
    "*a",
    "sum(*a)",
    "sum(**a)",
    "yield a",
    "await a",
    "a; a",
    "a\nimport os",
    "a\x00",
    "a\\\n+1",
    "import os",
    "a = 1",
    "del a",
    "f'{a}'",
    "a @ a",
    "a << 2",
    "a >> 2",
    "9**9**9",
    "2**a",
    "a**99999",
    "a**-99999",
    "a**'x'",
    "pow(2, a)",
    "a * 99999999999999999999999999",
    "'x' * 9999999",
    "b'x' * 9999999",
    "'%s' % 5",
    "'x' + 'y' + a",
    "2**62 * 4",
    "9223372036854775807 * 9223372036854775807",
    "frombuffer(a)",
    "fromiter(a)",
    "asarray(a)",
    "copy(a)",
    "matmul(a, a)",
    "ones((99999, 99999, 99999, 99999))",
    "zeros(-1)",
    "arange(0, 1, 0)",
    "linspace(0, 1, num=-5)",
    "full((2,), a)",
    "zeros((2, 2), dtype='O')",
    "zeros((2, 2), dtype='V999999999')",
    "ones(shape=(1,)*9)",
    "sin()",
    "sin(a, a)",
    "sin(a, out=a)",
    "where(a)",
    "sum(a, axis=9)",
    "sum(a, axis='0')",
    "sum(a, axis=(0, 0))",
    "sum(a, dtype='O')",
    "argmin(a, axis=(0, 1))",
    "a['field']",
    "a[1.5]",
    "a['a', 1]",
    "a[True]",
    "a[::0]",
    "a[99]",
    "a[0, 0, 0]",
    "a[a]",
    "a[[1, 2]]",
    "(a + 1)[0]",
    "n ** -1",
    "~a",
    "a & a",
    "sum",
    "sin",
    "...",
    "None",
    "''.join",
    "a.real",
    "a.tofile('x')",
    "a.sum().tofile",
    "__builtins__",
    "__a",
    "ａ + １",
    "",
    "   ",
    "a +",
    "((((a",
    "a" * (MAX_TEXT + 1),
    "+".join(["a"] * MAX_NODES),
    "-" * (MAX_DEPTH + 2) + "a",
    "(" * 300 + "a" + ")" * 300,
]


@pytest.mark.parametrize("text", ATTACKS)
def test_u1_what_is_not_on_the_list_is_refused_and_nothing_happens(text: str) -> None:
    seen: list[str] = []

    def watch(event: str, _arguments: Any) -> None:
        if watching and event.split(".")[0] in ("open", "os", "subprocess", "socket", "import", "exec"):
            seen.append(event)

    watching = True
    sys.addaudithook(watch)
    try:
        with pytest.raises(InvalidExpression) as caught:
            terms.bind(language.parse(text), KINDS)
    finally:
        watching = False
    assert seen == []
    assert caught.value.detail
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("a", (4, 6), "float64"),
        ("a * n + 1", (4, 6), "float64"),
        ("n + 1", (6,), "int64"),
        ("n + 1.5", (6,), "float64"),
        ("n > 2", (6,), "bool"),
        ("sum(n)", (), "int64"),
        ("mean(a, axis=1)", (4,), "float64"),
        ("mean(a, axis=-1, keepdims=True)", (4, 1), "float64"),
        ("argmax(a, 0)", (6,), "int64"),
        ("a[1:, 2]", (3,), "float64"),
        ("a[None, ..., 0]", (1, 4), "float64"),
        ("linspace(0, 1, 5)", (5,), "float64"),
        ("full((2, 3), 7)", (2, 3), "int64"),
        ("2 ** 1 if 0 else 1", None, None),
        ("1j * n", (6,), "complex128"),
    ],
)
def test_shapes_and_types_are_known_before_anything_is_read(
    text: str, shape: tuple[int, ...] | None, dtype: str | None
) -> None:
    if shape is None:
        with pytest.raises(InvalidExpression):
            terms.bind(language.parse(text), KINDS)
        return
    term = terms.bind(language.parse(text), KINDS)
    assert (term.shape, str(term.dtype)) == (shape, dtype)
