"""Names of roots, datasets and files: what is allowed, and how a name is stored and listed.

Everything that reaches a file system, a database or another service by name has passed `check_root`
or `check_path` first (requirement U7).
"""

from __future__ import annotations

import re
import unicodedata

from .errors import InvalidName

PUBLIC = "@public"
SHARED = "@shared"
PERSONAL = "@personal"
SPECIAL_ROOTS = (PUBLIC, SHARED, PERSONAL)
"""Roots that live at a subscriber and need no publisher."""

ARRAY_SUFFIX = ".b2nd"
FRAME_SUFFIX = ".b2frame"
DATASET_SUFFIXES = (ARRAY_SUFFIX, FRAME_SUFFIX)
HDF5_SUFFIXES = (".h5", ".hdf5")
COMPRESSED_SUFFIX = ".b2"
"""Suffix under which plain files are stored compressed; never part of a listed name."""

MAX_SEGMENT_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_DEPTH = 32

_ROOT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z")
_INTERNAL = re.compile(r"(?i)(\.cat2.*|.*\.tmp)\Z")
_PLAIN_SEGMENT = (
    r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:[./]|\Z))"
    r"[A-Za-z0-9_-](?:[A-Za-z0-9_.+-]{0,99}[A-Za-z0-9_+-])?(?<!\.[tT][mM][pP])"
)
_PLAIN_PATH = re.compile(rf"{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT}){{0,31}}\Z")
"""Paths that need no look at each character: a root of 200,000 files holds little else."""
# Invisible or direction-changing characters let two different names look the same.
_HIDDEN = frozenset(
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)


def check_root(name: str) -> str:
    """Return `name` if it may name a published or a special root.

    Raises
    ------
    InvalidName
        With one sentence that says what is wrong.
    """
    if name in SPECIAL_ROOTS or _ROOT.match(name):
        return name
    if name.startswith("@"):
        raise InvalidName(f"{printable(name)} is not one of the special roots {', '.join(SPECIAL_ROOTS)}")
    raise InvalidName(
        f"{printable(name)} cannot name a root: 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit"
    )


def check_path(path: str) -> str:
    """Return a path below a root in its canonical form.

    `path` is already percent-decoded. Empty and ``.`` segments are normalised away, as the original did;
    everything that could name something else than what it shows is refused.

    Raises
    ------
    InvalidName
        With one sentence that says what is wrong.
    """
    if len(path) <= MAX_PATH_BYTES and _PLAIN_PATH.match(path):
        return path
    if path.startswith("/"):
        raise InvalidName("path cannot start with a slash")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise InvalidName("a path must be valid Unicode text") from None
    if len(encoded) > MAX_PATH_BYTES:
        raise InvalidName(f"a path holds at most {MAX_PATH_BYTES} bytes")
    segments = [check_segment(segment) for segment in path.split("/") if segment not in ("", ".")]
    if not segments:
        raise InvalidName("the path is empty")
    if len(segments) > MAX_DEPTH:
        raise InvalidName(f"a path is at most {MAX_DEPTH} levels deep")
    return "/".join(segments)


def check_segment(segment: str) -> str:
    """Return one level of a path, in Unicode form NFC, if it is allowed. Raises InvalidName."""
    segment = unicodedata.normalize("NFC", segment)
    shown = printable(segment)
    if segment in ("", ".", ".."):
        raise InvalidName(f"'{segment}' cannot be part of a path")
    if len(segment.encode(errors="surrogatepass")) > MAX_SEGMENT_BYTES:
        raise InvalidName(f"a name holds at most {MAX_SEGMENT_BYTES} bytes")
    if "/" in segment or "\\" in segment:
        raise InvalidName(f"{shown}: a name cannot hold a slash or backslash")
    for character in segment:
        if character in _HIDDEN or unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidName(f"{shown}: a name cannot hold control or invisible characters")
    if segment != segment.strip() or segment.endswith("."):
        raise InvalidName(f"{shown}: a name cannot begin or end with a space, nor end with a dot")
    if _WINDOWS_DEVICE.match(segment):
        raise InvalidName(f"{shown} is a device name on Windows")
    if _INTERNAL.match(segment):
        raise InvalidName(f"{shown} is reserved for internal files")
    return segment


def split(path: str) -> tuple[str, str]:
    """Split ``ROOT/sub/name`` into a checked root and a checked path below it.

    The second part is ``""`` when `path` names a root alone.

    Raises
    ------
    InvalidName
        If either part is not allowed.
    """
    if path.startswith("/"):
        raise InvalidName("path cannot start with a slash")
    root, _, rest = path.partition("/")
    check_root(root)
    rest = rest.strip("/")
    if rest in ("", "."):
        return root, ""
    return root, check_path(rest)


def printable(name: str) -> str:
    """Return `name` in a form that is safe to show in a message or a log line."""
    shown = name if len(name) <= 80 else name[:77] + "..."
    return ascii(shown) if not shown.isprintable() or any(c in _HIDDEN for c in shown) else f"'{shown}'"


def is_array(path: str) -> bool:
    """Tell whether the name is that of an n-dimensional array."""
    return path.endswith(ARRAY_SUFFIX)


def is_dataset(path: str) -> bool:
    """Tell whether the name is that of a Blosc2 array or frame."""
    return path.endswith(DATASET_SUFFIXES)


def is_hdf5(path: str) -> bool:
    """Tell whether the name is that of an HDF5 file."""
    return path.lower().endswith(HDF5_SUFFIXES)


def listed(stored: str) -> str:
    """Return the name under which a stored file is listed: one trailing ``.b2`` is taken off."""
    return stored.removesuffix(COMPRESSED_SUFFIX)
