"""Make the demo's larger samples: a scan, an image, a line, a table, a picture, a notebook, in a few seconds.

Run ``python -m demo.make_demo_samples DIRECTORY``.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

SCAN_SHAPE = (180, 760, 760)
"""Slices, rows, columns of the tomography scan: 208 MB of 16-bit numbers."""

# Centre (z, y, x), half axes, turn in the plane (radians), added density; all lengths relative to the volume.
_ELLIPSOIDS = (
    ((0.0, 0.0, 0.0), (0.92, 0.69, 0.92), 0.0, 16000),
    ((0.0, 0.0, 0.0), (0.88, 0.66, 0.88), 0.0, -9000),
    ((0.0, 0.02, 0.22), (0.41, 0.31, 0.11), 1.88, -2500),
    ((0.0, 0.02, -0.22), (0.5, 0.41, 0.16), 1.25, -2500),
    ((0.1, -0.35, 0.0), (0.25, 0.25, 0.21), 0.0, 5000),
    ((-0.2, 0.1, 0.0), (0.12, 0.046, 0.046), 0.0, 9000),
    ((0.25, 0.42, 0.08), (0.2, 0.1, 0.06), 0.6, 7000),
    ((-0.3, 0.45, -0.1), (0.15, 0.08, 0.05), 2.2, 7000),
    ((0.0, -0.1, 0.45), (0.6, 0.03, 0.08), 0.3, 12000),
    ((0.05, 0.3, -0.42), (0.3, 0.05, 0.03), 0.9, 12000),
)

Say = Callable[[str], None]


def make_demo_samples(target: Path, say: Say = lambda _: None) -> None:
    """Write the samples into `target`; files that are there already are kept.

    Parameters
    ----------
    target
        Directory, made if need be.
    say
        Called with one line before each sample.
    """
    makers: dict[str, Callable[[Path], None]] = {
        "README.md": lambda path: _write(path, README.encode()),
        "tomography/phantom.b2nd": _make_scan,
        "diffraction/rings.b2nd": _make_rings,
        "line/vibration.b2nd": _make_line,
        "tables/observations.b2nd": _make_table,
        "images/nebula.b2nd": lambda path: _save(path, _nebula(1200, 1600), (300, 400, 3), kind="image"),
        "images/nebula.png": lambda path: _write(path, _png(_nebula(450, 600))),
        "spectra/complex.b2nd": _make_spectra,
        "masks/beamstop.b2nd": _make_mask,
        "notebooks/first-steps.ipynb": lambda path: _write(path, json.dumps(_notebook(), indent=1).encode()),
    }
    for name, make in makers.items():
        path = target / name
        if path.exists():
            continue
        say(f"making {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever watches the directory sees whole files only.
        partial = path.with_name(f".{path.name}.tmp")
        partial.unlink(missing_ok=True)
        make(partial)
        partial.rename(path)


def _save(
    path: Path, array: np.ndarray[Any, Any], chunks: tuple[int, ...], *, kind: str | None = None, **attributes: Any
) -> None:
    saved = blosc2.asarray(array, chunks=chunks, urlpath=str(path), mode="w", cparams={"clevel": 1})
    _describe(saved, kind, attributes)


def _describe(saved: Any, kind: str | None, attributes: dict[str, Any]) -> None:
    if kind:
        saved.schunk.vlmeta["contenttype"] = kind
    for name, value in attributes.items():
        saved.schunk.vlmeta[name] = value


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _make_scan(path: Path) -> None:
    depth, height, width = SCAN_SHAPE
    scan = blosc2.empty(
        SCAN_SHAPE,
        dtype=np.uint16,
        chunks=(4, 380, 380),
        blocks=(1, 190, 190),
        urlpath=str(path),
        mode="w",
        cparams={"clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE]},
    )
    rng = np.random.default_rng(7)
    grain = rng.normal(0, 30, (height * 2, width * 2)).astype(np.int16) & ~15
    for start in range(0, depth, 4):
        slab = np.empty((4, height, width), dtype=np.uint16)
        for k in range(4):
            z = (start + k) / (depth - 1) * 2 - 1
            row, column = rng.integers(0, height), rng.integers(0, width)
            slab[k] = _phantom_slice(z, height, width) + 1500 + grain[row : row + height, column : column + width]
        scan[start : start + 4] = slab
    _describe(
        scan,
        "tomography",
        {"sample": "ellipsoid phantom", "voxel_um": 0.65, "energy_keV": 25.0, "axes": ["z", "y", "x"]},
    )


def _phantom_slice(z: float, height: int, width: int) -> np.ndarray[Any, Any]:
    plane = np.zeros((height, width), dtype=np.int32)
    for (cz, cy, cx), (az, ay, ax), turn, density in _ELLIPSOIDS:
        left = 1 - ((z - cz) / az) ** 2
        if left <= 0:
            continue
        reach = max(ay, ax)
        rows = slice(*_span(cy, reach, height))
        columns = slice(*_span(cx, reach, width))
        y = np.linspace(-1, 1, height, dtype=np.float32)[rows, None] - cy
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, columns] - cx
        along = (x * np.cos(turn) + y * np.sin(turn)) / ax
        across = (y * np.cos(turn) - x * np.sin(turn)) / ay
        plane[rows, columns] += np.int32(density) * (along * along + across * across <= left)
    return plane


def _span(centre: float, reach: float, length: int) -> tuple[int, int]:
    first, last = ((centre + sign * reach + 1) / 2 * (length - 1) for sign in (-1, 1))
    return max(0, int(first)), min(length, int(last) + 2)


def _make_rings(path: Path) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-1:1:2048j, -1:1:2048j].astype(np.float32)
    y, x = y - np.float32(0.06), x + np.float32(0.04)
    radius = np.hypot(x, y)
    image = 400 * np.exp(-3 * radius)
    for ring, strength in ((0.18, 900), (0.27, 1500), (0.39, 700), (0.52, 450), (0.61, 800), (0.83, 260), (1.02, 120)):
        image += strength * np.exp(-(((radius - ring) / 0.006) ** 2)) * (1 + 0.25 * np.cos(2 * np.arctan2(y, x) - 0.7))
    for _ in range(160):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.choice((0.18, 0.27, 0.39, 0.52, 0.61))
        y_spot, x_spot = np.sin(angle) * distance + 0.06, np.cos(angle) * distance - 0.04
        row, column = (int((at + 1) / 2 * 2047) for at in (y_spot, x_spot))
        image[row - 3 : row + 4, column - 3 : column + 4] += rng.uniform(2000, 9000)
    image = rng.poisson(np.clip(image, 0, None)).astype(np.float32)
    image[radius < 0.05] = 0
    _save(path, image, (512, 512), kind="diffraction", wavelength_A=0.9763, distance_mm=182.4, detector="simulated")


def _make_line(path: Path) -> None:
    seconds = np.arange(2_000_000) / 48_000
    rng = np.random.default_rng(5)
    sweep = np.sin(2 * np.pi * (40 * seconds + 25 * seconds**2)) * np.exp(-((seconds - 21) ** 2) / 160)
    signal = sweep + 0.4 * np.sin(2 * np.pi * 50 * seconds) + rng.normal(0, 0.05, seconds.size)
    signal[1_200_000:1_200_400] += 4
    _save(path, np.round(signal, 4).astype(np.float32), (100_000,), unit="m/s2", rate_Hz=48_000)


def _make_table(path: Path) -> None:
    rng = np.random.default_rng(11)
    rows = 1_000_000
    fields = [("time", "<M8[s]"), ("station", "S4"), ("temperature", "<f4"), ("pressure", "<f4"), ("quality", "?")]
    table = np.empty(rows, dtype=fields)
    table["time"] = np.datetime64("2025-01-01") + np.arange(rows) * np.timedelta64(30, "s")
    table["station"] = np.array([b"BCN1", b"CST2", b"GVA1", b"HEL3"])[np.arange(rows) % 4]
    days = np.arange(rows) * 30 / 86_400
    season = -9 * np.cos(2 * np.pi * days / 365)
    table["temperature"] = np.round(12 + season + 5 * np.sin(2 * np.pi * days) + rng.normal(0, 0.8, rows), 2)
    table["pressure"] = np.round(1013 + 8 * np.sin(2 * np.pi * days / 9.3) + rng.normal(0, 0.3, rows), 1)
    table["quality"] = rng.random(rows) > 0.02
    _save(path, table, (50_000,), units={"temperature": "degC", "pressure": "hPa"})


def _make_spectra(path: Path) -> None:
    frequency = np.linspace(-1, 1, 4096)
    spectra = np.zeros((64, 4096), dtype=np.complex64)
    for i in range(64):
        for centre, width in ((-0.5 + i * 0.004, 0.01), (0.1, 0.004), (0.45 - i * 0.002, 0.02)):
            spectra[i] += width / (width + 1j * (frequency - centre))
    _save(path, spectra, (8, 4096), axes=["time", "frequency"])


def _make_mask(path: Path) -> None:
    y, x = np.mgrid[-1:1:2048j, -1:1:2048j]
    mask = np.hypot(x + 0.04, y - 0.06) < 0.05
    mask |= (np.abs(x + 0.04) < 0.008) & (y > 0.06)
    _save(path, mask, (512, 512))


def _nebula(height: int, width: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(19)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    image = np.zeros((height, width, 3), dtype=np.float32)
    for _ in range(40):
        colour = rng.uniform(0.1, 1, 3).astype(np.float32) * np.array((1.0, 0.55, 1.2), dtype=np.float32)
        cy, cx, size = rng.normal(0.5, 0.17), rng.normal(0.5, 0.2), rng.uniform(0.03, 0.16)
        image += np.exp(-(((y - cy) ** 2 + (x - cx) ** 2) / size**2))[..., None] * colour * rng.uniform(0.1, 0.6)
    for _ in range(300):
        cy, cx, size = rng.random(), rng.random(), rng.uniform(0.0006, 0.0022)
        rows, columns = slice(*_span(cy * 2 - 1, 0.02, height)), slice(*_span(cx * 2 - 1, 0.02, width))
        star = np.exp(-(((y[rows, columns] - cy) ** 2 + (x[rows, columns] - cx) ** 2) / size**2))
        image[rows, columns] += star[..., None] * 2
    scaled: np.ndarray[Any, Any] = (255 * (1 - np.exp(-1.3 * image))).astype(np.uint8)
    return scaled


def _png(image: np.ndarray[Any, Any]) -> bytes:
    """Encode an RGB image of shape (height, width, 3)."""
    height, width, _ = image.shape
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), image.reshape(height, width * 3)], axis=1)

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")


def _notebook() -> dict[str, Any]:
    code = [
        "import caterva2\n",
        'client = caterva2.Client("http://localhost:8002")\n',
        'scan = client.get("demo/tomography/phantom.b2nd")\n',
        "scan.shape, scan[90, 380, 300:310]",
    ]
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": "intro", "metadata": {}, "source": ["# First steps\n", "Read part of a scan."]},
        {"cell_type": "code", "execution_count": None, "id": "read", "metadata": {}, "outputs": [], "source": code},
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


README = """\
# Demo samples

| dataset | what it shows |
|---|---|
| `tomography/phantom.b2nd` | a stack of 180 reconstructed slices, 208 MB, read slice by slice |
| `diffraction/rings.b2nd` | one frame of a detector, best seen on a logarithmic scale |
| `line/vibration.b2nd` | two million points of a vibration sensor |
| `tables/observations.b2nd` | a million rows of weather observations: sort, filter, plot |
| `images/nebula.b2nd`, `images/nebula.png` | an image as an array, and as a picture |
| `spectra/complex.b2nd` | complex spectra that drift with time |
| `masks/beamstop.b2nd` | a boolean mask that fits the detector frame |
| `notebooks/first-steps.ipynb` | how to read all this from Python |

All of it is simulated by `python -m demo.make_demo_samples`.
"""


def main() -> int:
    """Make the samples in the directory given on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m demo.make_demo_samples DIRECTORY", file=sys.stderr)
        return 2
    started = time.monotonic()
    make_demo_samples(Path(sys.argv[1]), lambda line: print(line, file=sys.stderr))
    print(f"made in {time.monotonic() - started:.1f} s with {os.cpu_count()} cores", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
