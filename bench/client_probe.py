"""Measures a Python client of Caterva2, whichever release it is: runs in its environment and imports nothing of ours.

python client_probe.py URL PATH < slices.json
"""

from __future__ import annotations

import json
import statistics
import sys
import time


def main() -> None:
    """Fetch slices of one dataset, and print what that cost in this process."""
    import caterva2

    url, path = sys.argv[1:]
    wanted = [tuple(slice(*each) for each in key) for key in json.load(sys.stdin)]
    client = caterva2.Client(url)
    client.fetch(path, slice_=wanted[0])
    cpu, seconds = time.process_time(), []
    for key in wanted:
        began = time.perf_counter()
        array = client.fetch(path, slice_=key)
        seconds.append(time.perf_counter() - began)
        assert array.shape == tuple(each.stop - each.start for each in key), array.shape
    cpu_ms = (time.process_time() - cpu) * 1000 / len(wanted)
    print(json.dumps({"cpu_ms": cpu_ms, "median_ms": statistics.median(seconds) * 1000}))


if __name__ == "__main__":
    main()
