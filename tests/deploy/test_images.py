"""What is in the images, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.compose import REPOSITORY
from tests.deploy.engine import docker

MAX_BYTES = 450_000_000
PROGRAMS = {"broker": "cat2bro", "publisher": "cat2pub", "subscriber": "cat2sub"}


@pytest.fixture(params=sorted(PROGRAMS))
def role(request: pytest.FixtureRequest) -> str:
    """One of the three roles."""
    return request.param


@pytest.fixture
def inspected(images: dict[str, str], role: str) -> dict[str, Any]:
    """What the engine knows of the image of a role."""
    return json.loads(docker("image", "inspect", images[role]))[0]


def inside(image: str, script: str) -> str:
    """Run a shell script in a fresh, read-only container of `image`."""
    options = ["--rm", "--read-only", "--cap-drop=ALL", "--network=none", "--entrypoint", "sh"]
    return docker("run", *options, image, "-c", script)


def test_an_image_is_smaller_than_450_mb(inspected: dict[str, Any]) -> None:
    assert inspected["Size"] < MAX_BYTES


def test_a21_an_image_says_how_to_run_it(inspected: dict[str, Any], role: str) -> None:
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][:4] == ["CMD", "python", "-m", "caterva2_service.healthcheck"]
    assert config["Entrypoint"] == ["tini", "--", PROGRAMS[role]]
    assert config["Labels"]["org.opencontainers.image.title"] == f"caterva2-{role}"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "BSD-3-Clause"


def test_the_label_tells_the_version_of_the_package_inside(
    images: dict[str, str], inspected: dict[str, Any], role: str
) -> None:
    script = f"python -c 'from importlib.metadata import version; print(version(\"caterva2-{role}\"))'"
    assert inside(images[role], script) == inspected["Config"]["Labels"]["org.opencontainers.image.version"]


def test_a21_no_compiler_installer_or_downloader_is_left(images: dict[str, str], role: str) -> None:
    tools = "gcc cc ld make pip pip3 curl wget git strip"
    assert inside(images[role], f"for tool in {tools}; do command -v $tool; done; true") == ""
    assert inside(images[role], "python -m pip 2>&1; python -m ensurepip 2>&1; true").count("No module named") == 2


def test_nothing_in_the_image_belongs_to_the_user_that_runs_it(images: dict[str, str], role: str) -> None:
    owned = inside(images[role], "find / -xdev -user 10001 -not -path '/proc/*' 2>/dev/null; true").split()
    assert owned == ["/var/lib/caterva2"]


def test_extension_modules_survived_the_trimming(images: dict[str, str]) -> None:
    script = (
        "import asyncpg, argon2, blosc2, h5py, hdf5plugin, msgpack, numpy, orjson, uvloop, xxhash; "
        "array = numpy.arange(1000.0); print(blosc2.asarray(array)[-1], len(hdf5plugin.get_filters()) > 5)"
    )
    assert inside(images["subscriber"], f"PYTHONPATH= python -c '{script}'") == "999.0 True"


def test_a_wrong_setting_is_one_line_and_exit_code_1(images: dict[str, str], role: str) -> None:
    arguments = ["foo"] if role == "publisher" else []
    container = docker("create", "--env", "CATERVA2_LOGLEVEL=loud", images[role], *arguments)
    try:
        start = ["docker", "start", "--attach", container]
        said = subprocess.run(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180).stdout
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "1"
        assert said.count("\n") == 1
        assert "'loud' is not one of" in said
    finally:
        docker("rm", "-f", "-v", container)


def test_a_broker_alone_brings_its_own_bus_becomes_healthy_and_ends_at_sigterm(images: dict[str, str]) -> None:
    options = ["--detach", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", "--health-interval=1s"]
    container = docker("run", *options, images["broker"])
    try:
        deadline = time.monotonic() + 180
        while (status := docker("inspect", "--format", "{{.State.Health.Status}}", container)) != "healthy":
            assert time.monotonic() < deadline, f"{status}\n{docker('logs', container)}"
            time.sleep(0.5)
        docker("stop", "--time", "20", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "-f", "-v", container)


def test_a20_an_image_lists_every_package_in_it(images: dict[str, str], role: str) -> None:
    script = (
        "import json; from importlib.metadata import distributions; "
        "print(json.dumps(sorted([each.name, each.version] for each in distributions())))"
    )
    there = {
        (canonicalize_name(name), version)
        for name, version in json.loads(inside(images[role], f"python -c '{script}'"))
    }
    listed = json.loads(inside(images[role], "cat /venv/sbom.cdx.json"))
    assert listed["bomFormat"] == "CycloneDX"
    assert listed["metadata"]["component"]["name"] == f"caterva2-{role}"
    components = {(canonicalize_name(each["name"]), each["version"]) for each in listed["components"]}
    components.add((f"caterva2-{role}", listed["metadata"]["component"]["version"]))
    assert there == components


def test_a20_an_image_has_what_its_lock_names(images: dict[str, str], role: str) -> None:
    lock = (REPOSITORY / "docker" / "locks" / f"{role}.txt").read_text()
    locked = {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", lock)}
    components = json.loads(inside(images[role], "cat /venv/sbom.cdx.json"))["components"]
    foreign = {
        canonicalize_name(each["name"]): each["version"] for each in components if "caterva2" not in each["name"]
    }
    assert foreign == locked
