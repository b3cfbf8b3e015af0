"""T3: names that try to lead out of a root, by every way over HTTP that takes one, against a running site."""

from __future__ import annotations

import http.client
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from tests.security.mutants import effort
from tests.support.site import PASSWORD, USER, Site

TOKEN = "this-is-outside-of-every-root"
TARGETS = ("outside.txt", "db.sqlite", "etc/passwd")
CLIMBS = (
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    ".%2e/",
    "..%5c",
    "%252e%252e%252f",
    "%c0%ae%c0%ae/",
    "..;/",
    "....//",
    "x/../../",
)
ODD = (
    "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "file:%2f%2f%2fetc%2fpasswd",
    "~root/.profile", "~", ".", "..", "...", "%2e", "%00", "outside.txt%00.b2nd", "..%00/outside.txt",
    "a%0d%0aX-Evil:%201", "%", "%zz",
    "%ff%fe", "%e2%80%ae", "%ef%bc%8e%ef%bc%8e/outside.txt", "%f0%9f%92%a9", "C:%5cwindows%5cwin.ini", "nul", "-rf",
    "$(id)", "%60id%60", "'%3b%20drop%20table%20user%3b--", "%3cscript%3e", "{{7*7}}", "x" * 300, "x/" * 500 + "x",
    "proc/self/environ", "@public/../@personal", "foo/../@personal", ".cat2-state", ".htaccess", "%20", "a%20/b",
    "a/./b", "a//b",
)  # fmt: skip
NAMES = [
    *(climb * depth + target for climb, depth, target in itertools.product(CLIMBS, (1, 2, 3, 6), TARGETS)),
    *ODD,
]
ROOTS = ("foo", "hdf5root", "@public", "@shared", "@personal")
READS = ("info", "fetch", "download", "list", "preview", "chunk")
WRITES = ("unfold", "remove")
FIELDS = {
    "move from": ("/api/move/", lambda name: {"src": name, "dst": "@personal/t3/moved.b2nd"}),
    "move to": ("/api/move/", lambda name: {"src": "@personal/t3/none.b2nd", "dst": name}),
    "copy from": ("/api/copy/", lambda name: {"src": name, "dst": "@personal/t3/copied.b2nd"}),
    "copy to": ("/api/copy/", lambda name: {"src": "@personal/t3/none.b2nd", "dst": name}),
    "concat from": ("/api/concat/", lambda name: {"srcs": [name], "dst": "@personal/t3/joined.b2nd", "axis": 0}),
    "operand": ("/api/lazyexpr/", lambda name: {"name": "t3", "expression": "a + 1", "operands": {"a": name}}),
}


@pytest.fixture
def outside(sample_site: Site) -> Iterator[Path]:
    """A file beside the directories of the services."""
    file = sample_site.directory / "outside.txt"
    file.write_text(TOKEN)
    yield file
    file.unlink()


def requests() -> list[tuple[str, str, str | None]]:
    """Return method, address and body of every request, in an order that any part of them is a sample of."""
    paths = [f"{root}/{name}" for root, name in itertools.product(ROOTS, NAMES)]
    found: list[tuple[str, str, str | None]] = [
        ("GET", f"/api/{kind}/{path}{'?nchunk=0' if kind == 'chunk' else ''}", None)
        for kind, path in itertools.product(READS, paths)
    ]
    found += [("GET", f"/display/{path}", None) for path in paths]
    found += [("POST", f"/api/{kind}/{path}", "") for kind, path in itertools.product(WRITES, paths)]
    names = [unquote(path, errors="replace") for path in paths]
    found += [
        ("POST", address, json.dumps(body(name))) for (address, body), name in itertools.product(FIELDS.values(), names)
    ]
    random.Random(3).shuffle(found)
    return found


@pytest.mark.timeout(3600)
def test_t3_hostile_names_lead_nowhere_over_http(sample_site: Site, outside: Path) -> None:
    statuses: Counter[int] = Counter()
    with closing(http.client.HTTPConnection("localhost", sample_site.subscriber.port, timeout=60)) as connection:
        cookie = log_in(connection)
        for method, address, body in requests()[: effort(600)]:
            status, headers, content = ask(connection, method, address, body, cookie)
            statuses[status] += 1
            assert status < 500, f"{method} {address} {body}: {status} {content[:300]!r}"
            assert TOKEN.encode() not in content, f"{method} {address} {body} reads what is outside"
            assert b"root:x:0:" not in content, f"{method} {address} {body} reads /etc/passwd"
            assert "x-evil" not in headers, f"{method} {address} {body} writes headers"
    print(dict(statuses))
    assert outside.read_text() == TOKEN
    assert statuses[404]
    assert statuses[400]
    assert sample_site.client().get_list("foo")


def log_in(connection: http.client.HTTPConnection) -> str:
    """Return the cookie of an administrator, who may do more than others."""
    form = f"username={quote(USER)}&password={quote(PASSWORD)}"
    connection.request("POST", "/auth/jwt/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    cookie = answer.getheader("Set-Cookie")
    assert cookie is not None, f"no cookie after a login: {answer.status}"
    return cookie.partition(";")[0]


def ask(
    connection: http.client.HTTPConnection, method: str, address: str, body: str | None, cookie: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request whose address nothing on this side has tidied up."""
    connection.putrequest(method, address, skip_accept_encoding=True)
    connection.putheader("Cookie", cookie)
    content = (body or "").encode()
    if body is not None:
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(content)))
    connection.endheaders(content or None)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
