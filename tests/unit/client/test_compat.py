"""Programs written for earlier releases of the original."""

import argparse
import pathlib

import httpx
import numpy as np
import pytest

import caterva2
from caterva2 import api_utils, utils
from caterva2._transport import Transport
from caterva2.compat import _context

from .subscriber import Subscriber

GRID = np.arange(200).reshape(10, 20)


@pytest.fixture
def subscriber(monkeypatch, tmp_path):
    found = Subscriber({"foo/README.md": b"# Hello", "foo/ds.b2nd": GRID})
    call = Subscriber.__call__

    def with_login(self, request):
        if request.url.path.startswith("/auth/"):
            self.requests.append(request)
            return httpx.Response(204, headers={"set-cookie": "c2subauth=abc; Path=/"})
        return call(self, request)

    monkeypatch.setattr(Subscriber, "__call__", with_login)
    original = Transport.__init__
    monkeypatch.setattr(
        Transport, "__init__", lambda self, session, **_: original(self, session, transport=httpx.MockTransport(found))
    )
    monkeypatch.chdir(tmp_path)
    _context._client.cache_clear()
    yield found
    _context._client.cache_clear()


def last(subscriber: Subscriber) -> httpx.Request:
    return subscriber.requests[-1]


def test_release_0_1(subscriber):
    host = "data.example:8002"
    assert list(caterva2.get_roots(host=host)) == ["foo", "bar"]
    assert str(last(subscriber).url) == "http://data.example:8002/api/roots"
    assert caterva2.get_roots(host) == caterva2.get_roots()
    assert caterva2.subscribe("foo", host=host) == "Ok"
    assert caterva2.get_list("foo", host) == ["README.md", "ds.b2nd"]
    assert caterva2.get_info("foo/ds.b2nd", host=host)["shape"] == [10, 20]
    np.testing.assert_array_equal(caterva2.fetch("foo/ds.b2nd", host, "3", prefer_schunk=False), GRID[3])
    root = caterva2.Root("foo", host=host)
    assert root.node_list == ["README.md", "ds.b2nd"]
    assert root["README.md"].fetch(prefer_schunk=True) == b"# Hello"
    file = caterva2.File("README.md", "foo", host)
    assert (file.name, str(file.path), file.fetch("2:")) == ("README.md", "foo/README.md", b"Hello")
    assert caterva2.File(name="README.md", root="foo", host=host).path == file.path
    assert caterva2.Dataset("ds.b2nd", "foo", host).shape == (10, 20)
    assert caterva2.download("foo/README.md", host).read_bytes() == b"# Hello"
    assert last(subscriber).url.host == "data.example"
    assert (caterva2.bro_host_default, caterva2.pub_host_default, caterva2.sub_host_default) == (
        "localhost:8000",
        "localhost:8001",
        "localhost:8002",
    )


@pytest.mark.parametrize("urlbase", ["http://data.example", "http://data.example/"])
def test_release_2024_07(subscriber, urlbase):
    assert "foo" in caterva2.get_roots(urlbase=urlbase, auth_cookie="c2subauth=x")
    assert last(subscriber).headers["cookie"] == "c2subauth=x"
    np.testing.assert_array_equal(caterva2.fetch("foo/ds.b2nd", urlbase, "0:2, 3"), GRID[0:2, 3])
    root = caterva2.Root("foo", urlbase=urlbase, user_auth={"username": "me", "password": "secret"})
    assert (root.name, root.auth_cookie) == ("foo", "c2subauth=abc")
    assert root.urlbase == urlbase.rstrip("/")
    assert last(subscriber).headers["cookie"] == "c2subauth=abc"
    assert caterva2.Root("foo", urlbase, {"username": "me", "password": "secret"}).cookie == "c2subauth=abc"
    assert caterva2.download("foo/README.md", urlbase, "c2subauth=y").name == "README.md"
    assert last(subscriber).headers["cookie"] == "c2subauth=y"


def test_release_2025_02(subscriber):
    assert caterva2.get_auth_cookie("http://x.example", {"username": "me", "password": "s"}) == "c2subauth=abc"
    with caterva2.c2context(urlbase="http://outer.example", username="me", password="secret"):
        caterva2.get_list("foo")
        assert last(subscriber).url.host == "outer.example"
        assert last(subscriber).headers["cookie"] == "c2subauth=abc"
        with caterva2.c2context(urlbase="http://inner.example", auth_cookie="c2subauth=other"):
            caterva2.get_list("foo")
            assert last(subscriber).url.host == "inner.example"
            assert last(subscriber).headers["cookie"] == "c2subauth=other"
        with caterva2.c2context(urlbase="http://inner.example"):
            caterva2.get_list("foo")
            assert "cookie" not in last(subscriber).headers
        root = caterva2.Root("foo")
        assert root.urlbase == "http://outer.example"
        assert root.cookie == "c2subauth=abc"
        caterva2.get_list("foo", urlbase="http://elsewhere.example")
        assert "cookie" not in last(subscriber).headers
        saved = caterva2.download("foo/README.md", "here.md")
        assert saved == pathlib.Path("here.md")
    caterva2.get_list("foo")
    assert last(subscriber).url.host == "localhost"
    both = caterva2.c2context(username="me", password="x", auth_cookie="a=b")
    with pytest.raises(ValueError, match="not both"), both:
        pass


def test_modules_that_programs_import(subscriber):
    from caterva2 import client

    assert client.Client is caterva2.Client
    assert api_utils.slice_to_string((slice(0, 0), 5)) == "0:0, 5"
    assert api_utils.parse_slice("0:10, 3") == (slice(0, 10), 3)
    assert api_utils.parse_slice("7") == 7
    assert api_utils.get_download_url("foo/a", "http://x.example/") == "http://x.example/api/fetch/foo/a"
    saved = api_utils.download_url("http://x.example/api/fetch/foo/README.md", "x.md")
    assert saved.read_bytes() == b"# Hello"


def test_an_address_of_a_service():
    for text, host, port, uds in [
        ("localhost:8002", "localhost", 8002, None),
        ("[::1]:80", "::1", 80, None),
        ("run/x.sock", None, None, "run/x.sock"),
    ]:
        socket = utils.Socket(text)
        assert (socket, socket.host, socket.port, socket.uds) == (text, host, port, uds)
    assert utils.urlbase_type("http://x/") == "http://x"
    with pytest.raises(argparse.ArgumentTypeError):
        utils.urlbase_type("x:1")


def test_a_configuration_is_read_by_dotted_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["prog", "--id", "a"])
    assert utils.get_conf().get("subscriber.http", "none") == "none"
    (tmp_path / "caterva2.toml").write_text('[subscriber]\nhttp = "x:1"\n[publisher.a]\nname = "foo"')
    assert utils.get_conf().get("subscriber.http") == "x:1"
    assert utils.get_conf("publisher", allow_id=True).get(".name") == "foo"
