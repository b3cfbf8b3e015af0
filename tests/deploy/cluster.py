"""A Kubernetes for tests: one that `CATERVA2_TEST_KUBECONFIG` names, or one that scripts bring."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy.engine import SCRIPTS_VARIABLE, run, scripts
from tests.support.require import missing

KUBECONFIG_VARIABLE = "CATERVA2_TEST_KUBECONFIG"
"""Configuration of a cluster whose nodes have the images ``caterva2-*:test``; the tests use one namespace of it."""

PROGRAMS_VARIABLE, PROGRAMS = "KUBE_HOME", "/opt/stand-in-kubernetes"
"""Where the scripts keep the programs of Kubernetes."""

NAMESPACE = "caterva2-test"


@contextmanager
def kubernetes() -> Iterator[str]:
    """Have a cluster; yields the path of its configuration. One that was started for this is stopped again."""
    given, directory = os.environ.get(KUBECONFIG_VARIABLE), scripts()
    if given:
        yield given
    elif directory is not None:
        run([directory / "kubernetes" / "build.sh"], timeout_s=900)
        with tempfile.TemporaryDirectory() as home:
            variables = {PROGRAMS_VARIABLE: str(keep_images(Path(home)))}
            try:
                exported = run([directory / "kubernetes" / "up.sh"], timeout_s=600, variables=variables)
                yield exported.strip().rpartition("=")[2]
            finally:
                run([directory / "kubernetes" / "down.sh"], timeout_s=300, variables=variables)
    else:
        missing(f"neither {KUBECONFIG_VARIABLE} nor {SCRIPTS_VARIABLE} says where a Kubernetes is")


def keep_images(home: Path) -> Path:
    """Return a home of the programs of Kubernetes whose kubelet takes a machine as it is.

    With less than 15 % of a disk free it would delete the images of whoever uses this machine, and run no pods.
    """
    programs = Path(os.environ.get(PROGRAMS_VARIABLE, PROGRAMS)) / "bin"
    (home / "bin").mkdir()
    for program in programs.iterdir():
        (home / "bin" / program.name).symlink_to(program)
    kubelet = home / "bin" / "kubelet"
    kubelet.unlink()
    never = "imagefs.available<1%,nodefs.available<1%,nodefs.inodesFree<1%"
    kubelet.write_text(f'#!/bin/sh\nexec "{programs}/kubelet" "$@" "--eviction-hard={never}"\n')
    kubelet.chmod(0o755)
    return home


def kubectl(kubeconfig: str, *arguments: str, timeout_s: float = 300, check: bool = True) -> str:
    """Run ``kubectl`` in the namespace of the tests and return what it prints."""
    command = ["kubectl", f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}", *arguments]
    return run(command, timeout_s=timeout_s, check=check).strip()


def objects(kubeconfig: str, kind: str, selector: str = "app.kubernetes.io/name=caterva2") -> list[dict[str, Any]]:
    """Return the objects of one kind that the chart made."""
    found = json.loads(kubectl(kubeconfig, "get", kind, "--selector", selector, "--output=json"))
    return list(found["items"])
