"""The client in Pyodide, the Python of browsers, against a real subscriber.

Node runs it here, with the interpreter and the compiled part of pydantic as they are published for it. numpy for
Pyodide comes from no package registry, so that reading arrays into memory is not part of this: blosc2 would need it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT_EXAMPLE
from tests.support.processes import environment
from tests.support.require import missing
from tests.support.site import PASSWORD, USER, Site

PYODIDE = "314.0.7"
PLATFORM = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--only-binary=:all:")
PURE = ("pydantic", "annotated-types", "typing-extensions", "typing-inspection", "httpx", "httpcore", "h11", "anyio")
CLIENT = Path(__file__).parents[3] / "libs" / "caterva2-client"

PROGRAM = """
import json, sys
assert sys.platform == "emscripten"
import caterva2
from caterva2 import errors, slices

async def tour():
    found = {}
    async with caterva2.AsyncClient(URL) as client:
        found["roots"] = sorted(await client.get_roots())
        found["list"] = await client.get_list("foo")
        found["shape"] = (await client.get_info("foo/dir1/ds-2d.b2nd"))["shape"]
        found["plan"] = (await client.plan("foo/dir1/ds-2d.b2nd", slices.parse_slice("1:3")))["shape"]
        saved = await client.download("foo/dir1/ds-2d.b2nd", "/tmp/ds-2d.b2nd")
        found["saved"] = saved.read_bytes().hex()
        try:
            await client.get_info("foo/nope.b2nd")
        except errors.NotFound as error:
            found["missing"] = error.detail
    async with caterva2.AsyncClient(URL, caterva2.TokenAuth(TOKEN)) as client:
        found["me"] = (await client.whoami())["email"]
        await client.upload("/tmp/ds-2d.b2nd", "@personal/from-a-browser.b2nd")
        found["personal"] = await client.get_list("@personal")
        await client.remove("@personal/from-a-browser.b2nd")
    return found

print(json.dumps(await tour()))
"""


def prepare(directory: Path) -> tuple[Path, Path]:
    """Return the directories of Pyodide and of the wheels that it needs, fetched if they are not there."""
    home, wheels = directory / f"pyodide-{PYODIDE}", directory / f"wheels-{PYODIDE}"
    if not shutil.which("npm"):
        missing("Pyodide is run by Node, and there is no npm (apt-get install npm)")
    pins = [f"{name}=={version(name)}" for name in PURE]
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels]
    commands: list[list[str | Path]] = [
        ["npm", "install", "--silent", "--no-save", "--prefix", home, f"pyodide@{PYODIDE}"],
        [*download, *PLATFORM, f"pydantic-core=={version('pydantic-core')}"],
        [*download, *pins, "idna", "certifi", "sniffio"],
    ]
    if not (wheels / "complete").exists():
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode:
                missing(f"{command[0]} could not fetch what Pyodide needs: {done.stderr[-300:]}")
        (wheels / "complete").touch()
    return home / "node_modules" / "pyodide", wheels


@pytest.mark.timeout(900)
def test_the_client_works_in_pyodide(sample_site: Site, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    home, fetched = prepare(pytestconfig.cache.mkdir("pyodide"))
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for wheel in fetched.glob("*.whl"):
        shutil.copy(wheel, wheels)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, CLIENT]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    with sample_site.client(user=True) as client:
        token = client.add_token("pyodide", ["read", "write"])
        settings = f"URL = {sample_site.subscriber.url!r}\nTOKEN = {token['token']!r}\n"
        program = tmp_path / "program.py"
        program.write_text(settings + PROGRAM)
        script = Path(__file__).with_name("run.mjs")
        done = subprocess.run(
            ["node", script, home, wheels, program],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=300,
            check=False,
        )
        client.revoke_token(token["id"])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"@public", "foo", "hdf5root", "samples"} <= set(found["roots"])
    assert "dir1/ds-2d.b2nd" in found["list"]
    assert (found["shape"], found["plan"]) == ([10, 20], [2, 20])
    assert bytes.fromhex(found["saved"]) == (ROOT_EXAMPLE / "dir1" / "ds-2d.b2nd").read_bytes()
    assert (found["missing"], found["me"]) == ("Not Found", USER)
    assert "from-a-browser.b2nd" in found["personal"]
    assert PASSWORD not in settings
