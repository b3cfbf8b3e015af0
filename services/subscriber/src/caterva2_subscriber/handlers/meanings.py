"""What the parameters mean that many endpoints share, for the API's reference."""

from __future__ import annotations

from collections.abc import Mapping

from caterva2_service.reference import Meaning

MEANINGS: Mapping[str, Meaning] = {
    "path": Meaning("`ROOT/sub/name`, percent-encoded where need be; slashes may stay", "foo/dir1/ds-2d.b2nd"),
    "root": Meaning("Name of a root", "foo"),
    "name": Meaning("Name of a root or a group", "foo"),
    "username": Meaning("E-mail address of the user", "ada@example.com"),
    "token_id": Meaning("`id` of the token, as it is listed"),
    "identity_id": Meaning("`id` of the identity, as it is listed"),
    "slice_": Meaning("Slice as numpy writes it, without brackets; all of it without one", "0:10, ::2"),
    "v": Meaning("Version that the answer must belong to, else 412; such an answer may be kept for ever"),
    "nchunk": Meaning("Number of the chunk, counted row-major over the grid of chunks", 0),
    "if-none-match": Meaning("`ETag` of an earlier answer: 304 without a body if it would be the same again"),
    "if-match": Meaning("`ETag` or version that the dataset must have, else 412"),
    "range": Meaning("Bytes of the file that are wanted, `bytes=0-99`: 206 with these; other units are ignored"),
    "if-range": Meaning(
        "`ETag` of the bytes that `range` is the rest of: everything is answered if they are others by now"
    ),
    "accept-encoding": Meaning("Compressions that the client understands, such as `zstd` or `gzip`"),
    "next": Meaning("Page of this site to go to afterwards", "/"),
    "limit": Meaning("Largest number of entries in the answer"),
}
