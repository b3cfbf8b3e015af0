"""Types of elements, as text and as numpy's own objects."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class DType(str):
    """A dtype as the original reports it, as text, that also has the attributes of `numpy.dtype`.

    ``ds.dtype == "int64"``, ``ds.dtype == np.int64``, ``ds.dtype.itemsize`` and ``ds.dtype.names`` all work.
    """

    __slots__ = ()

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype as numpy's own object."""
        return parse_dtype(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.numpy, name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str.__eq__(self, other)
        import numpy as np

        try:
            return bool(self.numpy == np.dtype(other))  # type: ignore[call-overload]
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def parse_dtype(text: str) -> np.dtype[Any]:
    """Return the numpy dtype that a subscriber describes, structured and sub-array ones included.

    Raises
    ------
    ValueError
        If the text describes no dtype.
    """
    import numpy as np

    try:
        return np.dtype(str(text))
    except TypeError:
        pass
    try:
        described: np.dtype[Any] = np.dtype(ast.literal_eval(str(text)))
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"{text[:80]!r} is not a dtype") from error
    return described
