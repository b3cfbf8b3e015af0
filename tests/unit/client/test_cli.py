"""``cat2cli``: what it prints, where, and its exit code."""

import json
from urllib.parse import parse_qs

import httpx
import numpy as np
import pytest

from caterva2 import cli
from caterva2._transport import Transport

from . import cli_reference
from .subscriber import Subscriber


@pytest.fixture
def subscriber(monkeypatch, tmp_path):
    """Put a subscriber under every URL, and an empty directory under our feet."""
    found = Subscriber(
        {
            "foo/README.md": b"# Hello",
            "foo/dir2/ds-4d.b2nd": (np.arange(120) * (1 + 1j)).reshape(2, 3, 4, 5),
            "foo/ds-hello.b2frame": b"Hello world!" * 100,
            "foo/noise": bytes(range(256)),
            "foo/nan.b2nd": np.array([1.5, np.nan]),
        }
    )
    original = Transport.__init__
    monkeypatch.setattr(
        Transport, "__init__", lambda self, session, **_: original(self, session, transport=httpx.MockTransport(found))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CATERVA2_URL", "CATERVA2_USERNAME", "CATERVA2_PASSWORD", "CATERVA2_TOKEN", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def run(subscriber, capsys):
    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(argv)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["roots"], "foo (subscribed)\nbar\n"),
        (["subscribe", "foo"], "Ok\n"),
        (["unsubscribe", "foo"], "Ok\n"),
        (["subscribe", "foo", "--json"], '"Ok"\n'),
        (["list", "foo"], "README.md\ndir2/ds-4d.b2nd\nds-hello.b2frame\nnan.b2nd\nnoise\n"),
        (["ls", "foo/dir2", "--json"], '["ds-4d.b2nd"]\n'),
        (["url", "foo/a b.md"], "http://localhost:8002/api/fetch/foo/a%20b.md\n"),
        (["--subscriber", "http://x:1/", "url", "foo/a"], "http://x:1/api/fetch/foo/a\n"),
        (["url", "foo/a", "--json"], '"http://localhost:8002/api/fetch/foo/a"\n'),
        (["show", "foo/ds-hello.b2frame[:12]"], "Hello world!\n"),
        (["show", "foo/README.md"], "# Hello\n"),
        (["show", "foo/noise"], "Binary data\n"),
        (["show", "foo/dir2/ds-4d.b2nd[1,2,3]"], "[115.+115.j 116.+116.j 117.+117.j 118.+118.j 119.+119.j]\n"),
        (["show", "foo/nan.b2nd", "--json"], "[1.5, null]\n"),
        (["--json", "show", "foo/nan.b2nd[0]"], "1.5\n"),
        (["download", "foo/README.md"], "Dataset saved to foo/README.md\n"),
        (["download", "foo/README.md", "x.md"], "Dataset saved to x.md\n"),
    ],
)
def test_output(run, argv, expected):
    assert run(*argv) == (0, expected, "")


def test_of_a_large_array_only_what_is_shown_is_fetched(run, subscriber):
    large = np.arange(40_000).reshape(200, 200)
    subscriber.contents["foo/large.b2nd"] = large
    code, out, err = run("show", "foo/large.b2nd[:, ::-1]")
    assert (code, out) == (0, f"{large[:, ::-1]}\n")
    assert err == "40,000 elements of shape (200, 200); only those shown were fetched\n"
    asked = [request.url.params.get("indices") for request in subscriber.requests if "fetch" in request.url.path]
    assert asked == ["[[0, 1, 2, 197, 198, 199], [0, 1, 2, 197, 198, 199]]"]
    code, out, _ = run("show", "foo/large.b2nd", "--json")
    assert json.loads(out) == large.tolist(), "programs get everything"


def test_a_file_is_loaded_from_a_url_by_the_subscriber(run, subscriber):
    subscriber.load_from_url = lambda path, query: httpx.Response(200, json=path)
    argv = ["load", "https://data.example.org/run7.b2nd?x=1", "@personal/run7.b2nd"]
    assert run(*argv) == (0, "Dataset stored in @personal/run7.b2nd\n", "")
    sent = parse_qs(subscriber.requests[-1].content.decode())
    assert sent == {"remote_url": ["https://data.example.org/run7.b2nd?x=1"]}


def test_of_a_large_binary_file_only_the_beginning_is_fetched(run, subscriber):
    subscriber.contents["foo/large.bin"] = bytes(range(256)) * 4096
    assert run("show", "foo/large.bin") == (0, "Binary data\n", "")
    asked = [request.url.params.get("slice_") for request in subscriber.requests if "fetch" in request.url.path]
    assert asked == [":65536"]
    subscriber.contents["foo/large.txt"] = "é".encode() * 50_000
    assert run("show", "foo/large.txt") == (0, "é" * 50_000 + "\n", "")


def test_a_listing_as_a_tree(run):
    lines = [
        "foo",
        "├── README.md",
        "├── dir2",
        "│   └── ds-4d.b2nd",
        "├── ds-hello.b2frame",
        "├── nan.b2nd",
        "└── noise",
    ]
    assert run("tree", "foo") == (0, "\n".join(lines) + "\n", "")


def test_addresses_for_browsers(run, monkeypatch):
    assert run("handle", "foo/a b.b2nd") == (0, "http://localhost:8002/roots/foo/a%20b.b2nd\n", "")
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    assert run("browse", "foo/a")[0] == 0
    assert opened == ["http://localhost:8002/roots/foo/a?fullscreen=1"]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    code, _, err = run("browse", "foo/a")
    assert (code, "there is no browser here" in err) == (1, True)


def test_outputs_of_later_releases(run, capsys):
    def later(*argv: str) -> str:
        assert cli.later_main(argv) == 0
        return capsys.readouterr().out

    assert later("roots") == "foo\nbar\n"
    assert later("url", "foo/a") == "http://localhost:8002/api/download/foo/a\n"
    assert later("--url", "http://x:1", "url", "foo/a") == "http://x:1/api/download/foo/a\n"
    assert later("info", "foo/nan.b2nd").splitlines()[:4] == [
        "shape : (2,)",
        "chunks: (2,)",
        "blocks: (2,)",
        "dtype : float64",
    ]
    assert later("show", "--nocolor", "foo/nan.b2nd") == "[1.5 nan]\n"


def test_info_for_people_and_for_programs(run):
    code, out, _ = run("info", "foo/nan.b2nd")
    assert code == 0
    assert out.startswith("Getting info for foo/nan.b2nd\n{")
    code, out, err = run("info", "--json", "foo/nan.b2nd")
    assert json.loads(out)["dtype"] == "float64"
    assert err == "Getting info for foo/nan.b2nd\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["info", "foo/nope"], "Not Found"),
        (["subscribe", "nope"], "nope not known by the broker"),
        (
            ["unsubscribe", "foo", "--everybody", "--keep"],
            "Only administrators may do this: {'who': 'everybody', 'free': 'false'}",
        ),
        (["list", "/foo"], "path cannot start with a slash"),
        (["show", "foo/nan.b2nd[x < 1]"], "a field or a filter needs a structured dataset"),
        (["show", "foo/nan.b2nd[1,,2]"], "'1,,2' is not a slice"),
        (["--conf", "broken.toml", "roots"], "cannot read broken.toml"),
        (["--server", "nope", "roots"], "the configuration has no section [nope]"),
        (["--loglevel", "loud", "roots"], "'loud' is not a log level"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(run, tmp_path, argv, message):
    (tmp_path / "broken.toml").write_text("[client\n")
    code, out, err = run(*argv)
    assert code == 1
    assert err.splitlines()[-1].startswith("Error: ")
    assert message in err
    assert "Traceback" not in err
    assert out == "" or out == "Getting info for foo/nope\n"


@pytest.mark.parametrize(
    "argv", [[], ["nope"], ["--subscriber", "localhost:8002", "roots"], ["info"], ["search", "--limit", "0"]]
)
def test_wrong_use_is_exit_code_2(run, argv):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ("", "http://localhost:8002"),
        ('[subscriber]\nurl = "http://a:1"', "http://a:1"),
        ('[subscriber]\nurlbase = "http://b:1/x/"', "http://b:1/x"),
        ('[subscriber]\nhttp = "*:8012"', "http://localhost:8012"),
        ('[subscriber]\nhttp = "run/sub.sock"', "http://localhost:8002"),
        ('[default]\nurl = "http://c:1"\n[subscriber]\nurl = "http://a:1"', "http://c:1"),
    ],
)
def test_the_subscriber_of_the_configuration(run, tmp_path, conf, expected):
    (tmp_path / "caterva2.toml").write_text(conf)
    assert run("url", "foo/a") == (0, f"{expected}/api/fetch/foo/a\n", "")


def test_precedence_of_settings(run, tmp_path, monkeypatch):
    (tmp_path / "caterva2.toml").write_text('[client]\nurl = "http://file:1"\n[lab]\nurl = "http://lab:1"')
    assert "http://lab:1/" in run("--server", "lab", "url", "a/b")[1]
    monkeypatch.setenv("CATERVA2_URL", "http://env:1")
    assert "http://env:1/" in run("url", "a/b")[1]
    assert "http://option:1/" in run("--sub", "http://option:1", "url", "a/b")[1]


def test_abbreviated_credentials_log_in(run, subscriber, monkeypatch):
    def log_in(self: Subscriber, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(204, headers={"set-cookie": "c2subauth=abc"})

    monkeypatch.setattr(Subscriber, "__call__", log_in)
    code, _, _ = run("--user", "me@example.com", "--pass", "secret", "url", "foo/a")
    assert code == 0
    assert subscriber.requests[0].content == b"username=me%40example.com&password=secret"


def test_the_reference_is_that_of_the_parsers():
    assert cli_reference.TARGET.read_text(encoding="utf-8") == cli_reference.reference(), (
        "run 'python -m tests.unit.client.cli_reference'"
    )
