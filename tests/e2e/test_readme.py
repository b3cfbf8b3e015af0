"""Every command of the README, run as it is written.

Only ports differ: ``caterva2.toml`` moves the services to free ones, and a port that the README spells out is replaced.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import Process, environment, wait_until

CHECKOUT = Path(__file__).parent.parent.parent
README = (CHECKOUT / "README.md").read_text()
BLOCK = re.compile(r"^```(sh|python) tutorial\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(CHECKOUT / "root-example", tmp_path / "root-example")
    return tmp_path


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()


def configure(home: Path) -> dict[str, str]:
    """Move the services to free ports; return the replacements for the text of the README."""
    ports = {name: free_port() for name in ("8000", "8001", "8002")}
    (home / "caterva2.toml").write_text(
        f'[broker]\nhttp = "localhost:{ports["8000"]}"\n'
        f'[publisher]\nhttp = "localhost:{ports["8001"]}"\n'
        f'[subscriber]\nhttp = "localhost:{ports["8002"]}"\nurl = "http://localhost:{ports["8002"]}"\n'
    )
    return {f"localhost:{port}": f"localhost:{free}" for port, free in ports.items()}


def start(line: str, home: Path, processes: list[Process]) -> None:
    """Type ``line &`` and wait until the service says that it listens."""
    words = shlex.split(line.removesuffix("&"))
    env = dict(word.split("=", 1) for word in words if re.match(r"[A-Z0-9_]+=", word))
    command = [word for word in words if word.partition("=")[0] not in env]
    process = Process(command, log_path=home / f"{len(processes)}.log", cwd=home, env=env).start()
    processes.append(process)
    wait_until(lambda: "listens at" in process.output, timeout_s=60, what=f"{line}\n{process.output}")


def run(line: str, home: Path) -> None:
    """Type ``line  # what it prints``; a person would try again while a service has only just started."""
    command, _, expected = line.partition("#")
    said = ""

    def works() -> bool:
        nonlocal said
        done = subprocess.run(
            ["bash", "-c", command], cwd=home, env=environment(), capture_output=True, text=True, timeout=60
        )
        said = done.stdout + done.stderr
        return done.returncode == 0 and expected.strip() in done.stdout and bool(done.stdout.strip())

    with contextlib.suppress(AssertionError):
        wait_until(works, timeout_s=20, every_s=0.5, what=command)
        return
    raise AssertionError(f"{command}\n{said}")


def test_every_command_of_the_tutorial_works(home: Path, processes: list[Process]) -> None:
    replacements = configure(home)
    blocks = BLOCK.findall(README)
    assert len(blocks) >= 5
    for language, text in blocks:
        for written, replaced in replacements.items():
            text = text.replace(written, replaced)
        if language == "python":
            done = subprocess.run(
                [sys.executable, "-c", text], cwd=home, env=environment(), capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            assert "115.+115.j" in done.stdout
            continue
        for line in text.splitlines():
            if line.endswith("&"):
                start(line, home, processes)
            else:
                run(line, home)


def test_the_settings_of_the_readme_are_accepted(home: Path) -> None:
    toml = re.search(r"^```toml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert toml is not None
    (home / "caterva2.toml").write_text(toml[1])
    for module, name, section, identifier in (
        ("caterva2_broker.settings", "BrokerSettings", "broker", None),
        ("caterva2_publisher.settings", "PublisherSettings", "publisher", "microscopes"),
        ("caterva2_subscriber.settings", "SubscriberSettings", "subscriber", None),
    ):
        code = (
            f"from caterva2_service.settings import load_settings\nfrom {module} import {name}\n"
            f"argv = {['--id', identifier] if identifier else []}\n"
            f"print(load_settings({name}, argv, prog='test', section='{section}', description='').http)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=home, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r":800[0-2]$", done.stdout.strip())


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (CHECKOUT / name).read_text()
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (CHECKOUT / target).exists(), f"{name}: {target}"


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    for name in ("README.md", "CONTRIBUTING.md"):
        for targets in re.findall(r"`make ([a-z -]+)`", (CHECKOUT / name).read_text()):
            for target in targets.split():
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"
