"""A subscriber in a few lines: enough to see what the client makes of answers, with real Blosc2 frames in them."""

import json
from urllib.parse import parse_qs

import blosc2
import httpx
import numpy as np

from caterva2 import slices


class Subscriber:
    """Answers requests from arrays and bytes in memory; a handler for `httpx.MockTransport`."""

    def __init__(self, contents: dict[str, np.ndarray | bytes]) -> None:
        self.contents = contents
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        _, api, endpoint, *rest = request.url.path.split("/")
        assert api == "api"
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        return getattr(self, endpoint)("/".join(rest), query)

    def roots(self, path: str, query: dict[str, str]) -> httpx.Response:
        root = {"name": "foo", "http": "localhost:8001", "subscribed": True}
        return httpx.Response(200, json={"foo": root, "bar": {**root, "name": "bar", "subscribed": None}})

    def subscribe(self, path: str, query: dict[str, str]) -> httpx.Response:
        if path in ("foo", "bar"):
            return httpx.Response(200, json="Ok")
        return httpx.Response(404, json={"detail": f"{path} not known by the broker"})

    def unsubscribe(self, path: str, query: dict[str, str]) -> httpx.Response:
        if query != {"who": "me", "free": "true"}:
            return httpx.Response(403, json={"detail": f"Only administrators may do this: {query}"})
        return httpx.Response(200, json="Ok")

    def list(self, path: str, query: dict[str, str]) -> httpx.Response:
        found = sorted(name.removeprefix(f"{path}/") for name in self.contents if name.startswith(f"{path}/"))
        return httpx.Response(200, json=found)

    def info(self, path: str, query: dict[str, str]) -> httpx.Response:
        content = self.contents.get(path)
        if content is None:
            return httpx.Response(404, json={"detail": "Not Found"})
        schunk = {"cbytes": 10, "cratio": 2.0, "vlmeta": {"a": 1}, "nbytes": 0}
        info: dict = schunk
        schunk["nbytes"] = len(content) if isinstance(content, bytes) else content.nbytes
        if isinstance(content, np.ndarray):
            array = blosc2.asarray(content)
            info = {"shape": content.shape, "chunks": array.chunks, "blocks": array.blocks, "dtype": str(content.dtype)}
            info["schunk"] = schunk
        headers = {"X-Cat2-Version": "v1", "X-Cat2-Verified-Age": "2.5", "X-Cat2-Source": "cache"}
        return httpx.Response(200, text=json.dumps(info), headers=headers)

    def fetch(self, path: str, query: dict[str, str]) -> httpx.Response:
        content = self.contents.get(path)
        if content is None:
            return httpx.Response(404, json={"detail": "Not Found"})
        key = slices.parse_slice(query.get("slice_"))
        headers = {}
        if isinstance(content, bytes):
            part = content[key[0]] if key else content
            part = bytes([part]) if isinstance(part, int) else part
            schunk = blosc2.SChunk()
            if part:
                schunk.append_data(part)
            body = schunk.to_cframe()
            if not key:
                headers["content-disposition"] = f'attachment; filename="{path.rpartition("/")[2]}.b2"'
        else:
            if "field" in query:
                content = content[query["field"]]
            if "filter" in query:
                content = content[content["a"] < 2]
            body = blosc2.asarray(np.ascontiguousarray(content[key]).reshape(content[key].shape)).to_cframe()
        return httpx.Response(200, content=body, headers=headers | {"X-Cat2-Stale": "7", "X-Cat2-Source": "mixed"})
