"""What the parameters mean that endpoints share, for the API's reference."""

from __future__ import annotations

from collections.abc import Mapping

from caterva2_service.reference import Meaning

MEANINGS: Mapping[str, Meaning] = {
    "path": Meaning("Path below the root, percent-encoded where need be; slashes may stay", "dir1/ds-2d.b2nd"),
    "nchunk": Meaning("Number of the chunk, counted row-major over the grid of chunks", 0),
    "if-none-match": Meaning("etag of an earlier answer: 304 without a body if it would be the same again"),
    "if-match": Meaning("etag that the dataset must have, else 412"),
    "accept-encoding": Meaning("Compressions that the client understands, such as `zstd` or `gzip`"),
}
