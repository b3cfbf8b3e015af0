"""Write a few Blosc2 arrays into the folder argv[1], so that a first release has something to show."""

import sys
from pathlib import Path

import blosc2
import numpy as np

folder = Path(sys.argv[1])
waves = np.sin(np.linspace(0, 20, 400))[:, None] * np.cos(np.linspace(0, 30, 600))
arrays = {
    "line.b2nd": np.linspace(0, 1, 100_000),
    "images/waves.b2nd": waves.astype("f4"),
    "images/stack.b2nd": np.stack([waves * scale for scale in np.linspace(0, 1, 20)]).astype("f4"),
}
for name, array in arrays.items():
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        blosc2.asarray(array, urlpath=str(path), mode="w")
(folder / "README.md").write_text("# Sample\n\nArrays that the chart made, to try things out.\n")
