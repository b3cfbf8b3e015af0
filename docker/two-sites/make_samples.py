"""Write a volume whose chunks are a few MB each into the folder argv[1]: something worth not sending twice."""

import sys
from pathlib import Path

import blosc2
import numpy as np

path = Path(sys.argv[1], "volume.b2nd")
if not path.exists():
    noise = np.random.default_rng(0).normal(scale=0.01, size=(64, 512, 512))
    z, y, x = np.ogrid[-1:1:64j, -1:1:512j, -1:1:512j]
    volume = (np.cos(6 * (x**2 + y**2 + z**2)) + noise).astype("f4")
    unfinished = path.with_suffix(".unfinished")
    blosc2.asarray(volume, chunks=(8, 512, 512), urlpath=str(unfinished), mode="w")
    unfinished.rename(path)
