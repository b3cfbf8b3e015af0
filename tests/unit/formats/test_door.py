"""U3: what of blosc2 and h5py may be used, and where. The text of the packages is looked at, not their behaviour."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FORMATS = ROOT / "libs" / "caterva2-formats" / "src" / "caterva2_formats"
SERVICES = [ROOT / "libs" / "caterva2-service" / "src", *sorted((ROOT / "services").glob("*/src"))]

CODECS = {"compress2", "decompress2", "set_releasegil", "Codec", "Filter"}
ALLOWED = {
    "chunks.py": CODECS,
    # Reads and makes frames of this process's own, never a foreign one.
    "assemble.py": {"asarray", "ndarray_from_cframe", "__version__"},
    "sandbox_worker.py": {"asarray"},
}


def used(path: Path, library: str) -> set[str]:
    """Return the names of a library that a module uses, by attribute or by import."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == library:
            names.add(node.attr)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library:
            names |= {f"from {node.module} import {alias.name}" for alias in node.names}
    return names


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_u3_formats_use_nothing_of_blosc2_but_its_codecs() -> None:
    found = {path.name: names for path in FORMATS.glob("*.py") if (names := used(path, "blosc2"))}
    assert found.keys() <= ALLOWED.keys()
    for name, names in found.items():
        assert names <= ALLOWED[name], name
    assert found["chunks.py"]


def test_u5_hdf5_is_imported_in_few_places() -> None:
    found = {path.name for path in FORMATS.glob("*.py") if "h5py" in imports(path)}
    assert found == {"hdf5.py", "sandbox_worker.py"}


@pytest.mark.parametrize("package", SERVICES, ids=lambda path: path.parent.name)
def test_u3_services_open_nothing_themselves(package: Path) -> None:
    modules = list(package.rglob("*.py"))
    assert modules
    for path in modules:
        assert not imports(path) & {"blosc2", "h5py", "hdf5plugin", "pickle", "marshal", "shelve"}, path
