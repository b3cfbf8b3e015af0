"""The Python interfaces that the original had over its history, on top of `Client`.

Programs written for releases 0.1 to 2025.2 call functions of the module ``caterva2`` and name the subscriber in each
call; these are here, under the signatures of all those releases at once. New programs use `caterva2.Client`.
"""

from ._context import c2context, get_auth_cookie
from ._functions import (
    adduser,
    copy,
    deluser,
    download,
    fetch,
    get_chunk,
    get_info,
    get_list,
    get_roots,
    lazyexpr,
    listusers,
    move,
    remove,
    subscribe,
    upload,
)

bro_host_default = "localhost:8000"
pub_host_default = "localhost:8001"
sub_host_default = "localhost:8002"

__all__ = [
    "adduser",
    "bro_host_default",
    "c2context",
    "copy",
    "deluser",
    "download",
    "fetch",
    "get_auth_cookie",
    "get_chunk",
    "get_info",
    "get_list",
    "get_roots",
    "lazyexpr",
    "listusers",
    "move",
    "pub_host_default",
    "remove",
    "sub_host_default",
    "subscribe",
    "upload",
]
