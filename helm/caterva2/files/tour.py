"""What `helm test` runs: read something of every root argv[2:] through the subscriber at argv[1]."""

import sys
import time

import caterva2

url, *roots = sys.argv[1:]
client = caterva2.Client(url)
deadline = time.monotonic() + 120
while missing := set(roots) - set(client.get_roots()):
    if time.monotonic() > deadline:
        sys.exit(f"the subscriber at {url} does not know {', '.join(sorted(missing))}")
    time.sleep(1)
for name in roots:
    client.subscribe(name)
    while not (paths := client.get_list(name)):
        if time.monotonic() > deadline:
            sys.exit(f"the subscriber at {url} does not get the list of root {name}, or there is nothing in it")
        time.sleep(1)
    arrays = [path for path in paths if path.endswith(".b2nd")]
    print(f"{name}: {len(paths)} paths, {len(arrays)} arrays")
    for path in arrays[:3]:
        value = client.fetch(f"{name}/{path}")
        print(f"  {path}: {value.dtype} {value.shape}")
