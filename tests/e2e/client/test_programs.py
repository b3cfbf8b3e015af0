"""``cat2agent`` and ``cat2tbrowser`` against running services."""

from __future__ import annotations

import os
import signal
from pathlib import Path, PurePosixPath

import pytest
from textual.widgets import DataTable, Static, Tree

from caterva2 import cli
from caterva2.cli import tbrowser
from caterva2.cli.agent import Agent
from tests.support.processes import Process, environment, run, wait_until
from tests.support.samples import sample_arrays
from tests.support.site import PASSWORD, USER, Site

CREDENTIALS = {"CATERVA2_USERNAME": USER, "CATERVA2_PASSWORD": PASSWORD}


@pytest.fixture
def client(sample_site: Site):
    with sample_site.client(user=True) as client:
        yield client


@pytest.fixture
def folder(client, tmp_path, request):
    """A local directory with two files, and the path of a remote one that is removed in the end."""
    local = tmp_path / "local"
    (local / "sub").mkdir(parents=True)
    (local / "a.txt").write_text("one")
    (local / "sub" / "b.txt").write_text("two")
    (local / ".hidden").write_text("not sent")
    (local / "link.txt").symlink_to("/etc/hostname")
    remote = f"@personal/agent-{os.getpid()}"
    yield local, remote
    if client.get_list(remote):
        client.remove(remote)


def agent_command(site: Site, *arguments: object) -> list[str]:
    return ["cat2agent", "--subscriber", site.subscriber.url, *map(str, arguments)]


def test_the_agent_sends_what_is_new_and_changed(sample_site, client, folder, tmp_path):
    local, remote = folder
    log = tmp_path / "agent.log"
    command = agent_command(sample_site, "--interval", 0.2, local, remote)
    with Process(command, log_path=log, env={**CREDENTIALS, "HOME": str(tmp_path)}) as agent:
        wait_until(lambda: "sub/b.txt" in agent.output, timeout_s=30, what="the first files are sent")
        assert client.get_list(remote) == ["a.txt", "sub/b.txt"]
        (local / "c.txt").write_text("three")
        (local / "a.txt").write_text("one and a half")
        (local / "sub" / "b.txt").unlink()
        wait_until(lambda: agent.output.count("✓") >= 2, timeout_s=30, what="changes are sent")
        assert client.fetch(f"{remote}/a.txt") == b"one and a half"
        assert client.fetch(f"{remote}/c.txt") == b"three"
        assert "sub/b.txt" in client.get_list(remote)  # nothing is deleted without --delete
        agent.send(signal.SIGINT)
        assert agent.wait() == 130
    assert agent.output.splitlines()[:2] == ["↑ Initial upload: a.txt", "↑ Initial upload: sub/b.txt"]


def test_the_agent_deletes_only_if_it_may(sample_site, client, folder, tmp_path):
    local, remote = folder
    env = environment({**CREDENTIALS, "HOME": str(tmp_path)})
    once = agent_command(sample_site, "--once", local, remote)
    assert run(once, env=env).returncode == 0
    again = run(once, env=env)
    assert (again.returncode, again.stdout) == (0, "")  # nothing changed, nothing is sent
    (local / "a.txt").unlink()
    assert run(once, env=env).stdout == ""
    assert client.get_list(remote) == ["a.txt", "sub/b.txt"]
    deleting = run(agent_command(sample_site, "--once", "--delete", local, remote), env=env)
    assert deleting.stdout == "x Removed a.txt\n"
    assert client.get_list(remote) == ["sub/b.txt"]


def test_a_directory_that_vanishes_deletes_nothing(client, folder):
    local, remote = folder
    agent = Agent(client, local, PurePosixPath(remote), delete=True)
    agent.begin()
    local.rename(local.with_name("unmounted"))
    with pytest.raises(Exception, match="no longer there"):
        agent.step()
    assert client.get_list(remote) == ["a.txt", "sub/b.txt"]


@pytest.mark.parametrize("remote", ["foo/x", "@public", "@personal/../x", "/x"])
def test_the_agent_writes_below_special_roots_only(sample_site, tmp_path, remote):
    done = run(agent_command(sample_site, tmp_path, remote))
    assert done.returncode == 2
    assert "is not a directory below one of" in done.stderr


def test_the_agent_needs_a_user(sample_site, tmp_path):
    done = run(agent_command(sample_site, tmp_path, "@personal/x"), env=environment({"HOME": str(tmp_path)}))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: uploading needs a user")


@pytest.mark.parametrize(
    ("name", "at", "titles", "row"),
    [
        ("plane.b2nd", [3, 2], ["", "2"], ["3", str(sample_arrays()["plane.b2nd"][3, 2])]),
        ("cube.b2nd", [1, 0, 0], ["", "0"], ["0", "56"]),
        ("line.b2nd", [7], ["", "value"], ["7", "7"]),
        ("scalar.b2nd", [], ["", "value"], ["", "2.5"]),
        ("table.b2nd", [0], ["", "a"], ["0", "0"]),
        ("empty.b2nd", [0, 0], ["", "0"], None),
        ("notes.md", [], ["text"], ["# Notes"]),
    ],
)
def test_a_window_of_data(client, name, at, titles, row):
    path = f"samples/{name}"
    found_titles, rows = tbrowser.window(client, path, client.get_info(path), at)
    assert found_titles[: len(titles)] == titles
    assert (rows[0][: len(row)] if row else rows) == (row or [])


async def test_the_browser_shows_a_tree_and_data(sample_site):
    with sample_site.client() as client:
        app = tbrowser.make_app(client, ["foo"])
        async with app.run_test(size=(140, 50)) as pilot:
            await pilot.pause()
            root = app.query_one(Tree).root.children[0]
            assert [str(branch.label).partition(" ")[0] for branch in root.children] == ["Datasets", "Files"]
            leaf = next(node for node in root.children[0].children if str(node.label) == "ds-1d.b2nd")
            app.query_one(Tree).select_node(leaf)
            leaf.tree.post_message(Tree.NodeSelected(leaf))
            await pilot.pause()
            assert "shape: (1000,)" in str(app.query_one("#facts", Static).render())
            table = app.query_one(DataTable)
            assert table.get_row_at(5) == ["5", "5"]
            two = next(node for node in root.children[0].children if str(node.label) == "dir1/ds-2d.b2nd")
            app.query_one(Tree).post_message(Tree.NodeSelected(two))
            await pilot.pause()
            assert table.get_row_at(3)[:3] == ["3", *map(str, client.fetch("foo/dir1/ds-2d.b2nd", (3, slice(0, 2))))]
            await pilot.press("l")
            await pilot.pause()
            assert str(table.ordered_columns[1].label) == "12"


def test_the_browser_says_what_is_wrong(sample_site, tmp_path):
    command = ["cat2tbrowser", "--subscriber", sample_site.subscriber.url, "--root", "nope"]
    done = run(command, env=environment({"HOME": str(tmp_path)}))
    assert (done.returncode, done.stdout) == (1, "")
    assert "nope not known by the broker" in done.stderr


def test_the_cache_is_administered(
    sample_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name, value in {**CREDENTIALS, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> str:
        assert cli.main(["--subscriber", sample_site.subscriber.url, *arguments]) == 0
        return capsys.readouterr().out

    call("cache", "prefetch", "samples/large.b2nd")
    assert "0 B over the link (0 chunks)" in call("plan", "samples/large.b2nd[5:300]")
    assert "samples/large.b2nd" in call("cache", "pin", "samples/large.b2nd", "--json")
    call("cache", "unpin", "samples/large.b2nd")
    call("cache", "free", "samples/large.b2nd")
    assert '"cache_chunks": 0' in call("plan", "samples/large.b2nd", "--json")
    assert '"used"' in call("cache", "--json")
