"""``cat2cli`` as people use it, against running services."""

from __future__ import annotations

import io
import itertools
import json
import os
import stat
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest

from caterva2 import cli
from tests.support.content import write_array
from tests.support.processes import Process, environment, program, run, wait_until
from tests.support.site import PASSWORD, USER, Site


@pytest.fixture
def cat2cli(sample_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command in an empty directory, with an empty home; return its exit code and outputs.

    It runs in this process, which spares half a second for each.
    """
    extra = {"CATERVA2_URL": sample_site.subscriber.url, "HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def call(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        command = list(map(str, arguments))
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in ("CATERVA2_USERNAME", "CATERVA2_PASSWORD", "CATERVA2_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in {**extra, **env}.items():
                patch.setenv(name, value)
            code = cli.main(command)
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    return call


def test_the_installed_program(sample_site: Site, tmp_path: Path):
    done = run(
        ["cat2cli", "--subscriber", sample_site.subscriber.url, "show", "foo/ds-hello.b2frame[:12]"], cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello world!\n", "")
    later = run(["cat2-client", "--url", sample_site.subscriber.url, "roots"], cwd=tmp_path)
    assert "foo" in later.stdout.splitlines()


@pytest.fixture
def as_user(cat2cli):
    """Run a command as the administrator of the site; it must succeed."""

    def call(*arguments: str | Path) -> str:
        done = cat2cli(*arguments, CATERVA2_USERNAME=USER, CATERVA2_PASSWORD=PASSWORD)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return call


def test_login_keeps_a_token_that_only_its_owner_can_read(cat2cli, tmp_path):
    assert cat2cli("whoami").stdout == "anonymous\n"
    done = cat2cli("login", CATERVA2_USERNAME=USER, CATERVA2_PASSWORD=PASSWORD)
    assert done.returncode == 0, done.stderr
    kept = tmp_path / ".config" / "caterva2" / "tokens.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert PASSWORD not in kept.read_text()
    assert cat2cli("whoami").stdout.startswith(USER)
    assert "@personal (subscribed)" in cat2cli("roots").stdout
    assert "cat2cli on" in cat2cli("token").stdout
    token = next(iter(json.loads(kept.read_text()).values()))["token"]
    assert cat2cli("logout").returncode == 0
    assert cat2cli("whoami").stdout == "anonymous\n"
    refused = cat2cli("whoami", CATERVA2_TOKEN=token)
    assert (refused.returncode, refused.stderr) == (1, "Error: The token is not valid, or no longer\n")


def test_login_without_a_terminal_says_what_it_needs(cat2cli):
    done = cat2cli("login")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: a user name and a password are needed")


def test_a_wrong_password_is_one_line(cat2cli):
    done = cat2cli("--user", USER, "--pass", "wrong", "roots")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Error: LOGIN_BAD_CREDENTIALS\n")


def test_files_go_up_and_come_back(as_user, tmp_path):
    (tmp_path / "notes.txt").write_text("some notes")
    assert as_user("upload", "notes.txt", "@personal/cli/notes.txt") == "Dataset stored in @personal/cli/notes.txt\n"
    assert as_user("show", "@personal/cli/notes.txt") == "some notes\n"
    copied = as_user("cp", "@personal/cli/notes.txt", "@personal/cli/copy.txt")
    assert copied == "Dataset @personal/cli/notes.txt copied to @personal/cli/copy.txt\n"
    moved = as_user("mv", "@personal/cli/copy.txt", "@personal/cli/moved.txt")
    assert moved == "Dataset @personal/cli/copy.txt moved to @personal/cli/moved.txt\n"
    assert as_user("ls", "@personal/cli") == "moved.txt\nnotes.txt\n"
    assert as_user("tree", "@personal/cli").splitlines()[1:] == ["├── moved.txt", "└── notes.txt"]
    assert as_user("download", "@personal/cli/moved.txt", "back.txt") == "Dataset saved to back.txt\n"
    assert (tmp_path / "back.txt").read_text() == "some notes"
    removed = as_user("rm", "@personal/cli")
    assert removed == "Dataset (or directory contents) removed: @personal/cli\n"
    assert not [path for path in json.loads(as_user("ls", "@personal", "--json")) if path.startswith("cli")]


def test_datasets_are_found_by_words(cat2cli):
    assert (
        cat2cli("search", "ds-4d", "--root", "foo").stdout == "foo/dir2/ds-4d.b2nd  complex128 (2, 3, 4, 5)  1.88 KiB\n"
    )
    found = json.loads(cat2cli("find", "int64", "--kind", "1d", "--json").stdout)
    assert found
    assert all(entry["dtype"] == "int64" and len(entry["shape"]) == 1 for entry in found)
    few = cat2cli("search", "--root", "foo", "--limit", "2")
    assert (len(few.stdout.splitlines()), few.stderr) == (2, "There are more than 2: --limit, or --all\n")
    everything = cat2cli("search", "--root", "foo", "--all", "--json")
    assert {entry["path"] for entry in json.loads(everything.stdout)} == {
        f"foo/{path}" for path in cat2cli("list", "foo").stdout.splitlines()
    }
    nowhere = cat2cli("search", "--root", "nope")
    assert (nowhere.returncode, nowhere.stderr) == (1, "Error: nope not known by the broker\n")


def test_users_and_their_groups_and_rights(as_user, cat2cli):
    message = as_user("adduser", "ada@example.com")
    password = message.rpartition("password='")[2].partition("'")[0]
    assert len(password) >= 8
    assert cat2cli("--user", "ada@example.com", "--pass", password, "whoami").stdout.startswith("ada@example.com;")
    assert "'email': 'ada@example.com'" in as_user("lsu", "ada@example.com")
    assert json.loads(as_user("listusers", "ada@example.com", "--json"))[0]["email"] == "ada@example.com"
    assert as_user("quota", "ada@example.com", "2K") == "ada@example.com: 0 B, of 2.00 KiB\n"
    assert "ada@example.com: 0 B, of 2.00 KiB\n" in as_user("quota")
    assert as_user("quota", "ada@example.com", "none") == "ada@example.com: 0 B, no limit\n"
    assert as_user("identity") == ""
    assert as_user("group", "add", "xray", "Beam", "time") == "Group added: xray\n"
    assert as_user("group", "join", "xray", "ada@example.com") == "ada@example.com joined xray\n"
    assert as_user("group") == "xray - Beam time: ada@example.com\n"
    try:
        assert as_user("grant", "samples", "read", "group:xray").startswith("samples read: group:xray\n")
        assert cat2cli("ls", "samples").returncode == 1
        assert cat2cli("--user", "ada@example.com", "--pass", password, "ls", "samples").returncode == 0
        refused = cat2cli("--user", "ada@example.com", "--pass", password, "grant", "samples", "read", "public")
        assert (refused.returncode, refused.stdout) == (1, "")
    finally:
        restored = as_user("revoke", "samples", "read", "--default")
    assert "(default)" in restored
    assert cat2cli("ls", "samples").returncode == 0
    assert as_user("group", "remove", "xray") == "Group removed: xray\n"
    assert as_user("deluser", "ada@example.com") == "User deleted: ada@example.com\n"


def test_doctor_finds_everything_well(cat2cli, as_user):
    findings = json.loads(as_user("doctor", "--json"))
    assert all(finding["ok"] for finding in findings)
    assert {"client", "subscriber", "version", "broker", "bus", "login", "root foo"} <= {f["subject"] for f in findings}
    lost = cat2cli("--subscriber", "http://localhost:9", "doctor")
    assert lost.returncode == 1
    assert "FAIL  subscriber: http://localhost:9" in lost.stdout
    assert "start a subscriber here" in lost.stdout


def test_watch_prints_changes(shared_site: Site, folder: Path, tmp_path):
    log = tmp_path / "watch.log"
    arguments = ["cat2cli", "--subscriber", shared_site.subscriber.url, "watch", "foo", "--json"]

    def events() -> list[dict[str, Any]]:
        text = log.read_text() if log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    with Process(arguments, log_path=log, env={"HOME": str(tmp_path)}):
        versions = itertools.count()

        def printed() -> bool:
            # Changes that were made before the program listens are not told, and a root that appears is told too.
            write_array(folder / "watched.b2nd", next(versions))
            return any((event["event"], event["root"]) == ("changed", "foo") for event in events())

        wait_until(printed, timeout_s=30, what="a change is printed", every_s=0.5)
    told = {event["path"] for event in events() if event["event"] == "changed"}
    assert f"{folder.name}/watched.b2nd" in told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cat2cli, shell):
    done = cat2cli("completion", shell)
    assert done.returncode == 0
    assert "cat2cli" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cat2cli dow", ["download"]),
        ("cat2cli info foo/dir1/", ["foo/dir1/ds-2d.b2nd", "foo/dir1/ds-3d.b2nd"]),
        ("cat2cli ls sam", ["samples/"]),
    ],
)
def test_a_shell_completes_commands_and_paths(sample_site: Site, tmp_path, line, expected):
    reply = tmp_path / "reply"
    env = environment(
        {
            "CATERVA2_URL": sample_site.subscriber.url,
            "HOME": str(tmp_path),
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(reply),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
    )
    subprocess.run([program("cat2cli")], env=env, check=True, capture_output=True, timeout=60)
    assert reply.read_text().split("\n") == expected


def test_output_that_nobody_reads_to_its_end_is_no_error(sample_site: Site, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [program("cat2cli"), "--subscriber", sample_site.subscriber.url, "ls", "foo"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment(), timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_arrays_are_put_together(as_user, tmp_path):
    for name, start in (("a", 0), ("b", 10)):
        blosc2.asarray(np.arange(start, start + 5), urlpath=str(tmp_path / f"{name}.b2nd"))
        as_user("upload", f"{name}.b2nd", f"@personal/put/{name}.b2nd")
    np.save(tmp_path / "more.npy", np.array([5, 6]))
    assert as_user("append", "@personal/put/a.b2nd", "more.npy", "--json") == "[7]\n"
    pair = ("@personal/put/a.b2nd", "@personal/put/b.b2nd")
    as_user("concat", *pair, "@personal/put/joined.b2nd")
    assert as_user("show", "@personal/put/joined.b2nd") == "[ 0  1  2  3  4  5  6 10 11 12 13 14]\n"
    as_user("lazyexpr", "doubled", "x * 2", "x=@personal/put/b.b2nd")
    assert as_user("show", "@personal/doubled.b2nd[1:3]") == "[22 24]\n"
    as_user("rm", "@personal/put")
    as_user("rm", "@personal/doubled.b2nd")
