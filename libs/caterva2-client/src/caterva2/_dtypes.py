"""Types of elements, as text and as numpy's own objects.

The original reports a dtype as text, which programs compare with text; tools of the field want an object of numpy. What
`dtype_of` returns is both, as far as numpy lets it be.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class _Described:
    """Text that describes a dtype, with the attributes of that dtype."""

    __slots__ = ()

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype as numpy's own object."""
        return parse_dtype(str(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.numpy, name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str(self) == str(other)
        import numpy as np

        try:
            return bool(self.numpy == np.dtype(other))  # type: ignore[call-overload]
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str(self))


class DType(_Described, str):
    """A plain dtype: text that numpy understands, like ``int64``, ``>f4`` or ``datetime64[s]``."""

    __slots__ = ()

    def __str__(self) -> str:
        return str.__str__(self)


class StructuredDType(_Described):
    """A dtype whose text numpy does not understand: with fields, or of elements that are arrays.

    It equals its text, but is not text itself, because numpy looks for `dtype` in other objects only.
    """

    __slots__ = ("_text", "dtype")

    def __init__(self, text: str) -> None:
        self._text = text
        self.dtype = parse_dtype(text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return repr(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        return StructuredDType, (self._text,)


def dtype_of(text: str) -> DType | StructuredDType:
    """Return a dtype that is, or equals, its text, and has the attributes of numpy's dtype."""
    return StructuredDType(text) if text.startswith(("[", "(", "{")) else DType(text)


def parse_dtype(text: str) -> np.dtype[Any]:
    """Return the numpy dtype that a subscriber describes, structured and sub-array ones included.

    Raises
    ------
    ValueError
        If the text describes no dtype.
    """
    import numpy as np

    try:
        return np.dtype(text)
    except TypeError:
        pass
    try:
        described: np.dtype[Any] = np.dtype(ast.literal_eval(text))
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"{text[:80]!r} is not a dtype") from error
    return described
