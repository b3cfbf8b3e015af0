"""The chart on a real API server and kubelet: installed, tested, upgraded from an older version, rolled back."""

from __future__ import annotations

import base64
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from tests.deploy.chart import CHART
from tests.deploy.cluster import NAMESPACE, kubectl, kubernetes, objects
from tests.deploy.compose import TAG
from tests.support.processes import wait_until

PREVIOUS = Path(__file__).with_name("charts") / "caterva2-0.1.0.tgz"
"""One NATS user for all publishers, and one role in the database."""
RELEASE = "site"
SUBSCRIBER = f"{RELEASE}-subscriber-0"
LOGIN = "admin@example.org", "a long enough password"
VALUES: dict[str, Any] = {
    **yaml.safe_load((CHART / "ci" / "trial-values.yaml").read_text()),
    "image": {"tag": TAG},
}
TIMEOUT_S = 600

READ_AND_LOG_IN = """
import sys, httpx, caterva2
with caterva2.Client('http://127.0.0.1:8002') as client:
    print(client.fetch('sample/images/stack.b2nd').shape)
form = dict(zip(('username', 'password'), sys.argv[1:]))
print(httpx.post('http://127.0.0.1:8002/auth/jwt/login', data=form).status_code in (200, 204))
"""

CHANGE_TABLES = """
import asyncio, os, asyncpg

async def main():
    connection = await asyncpg.connect(os.environ['CATERVA2_DATABASE_URL'].replace('+asyncpg', ''))
    try:
        await connection.execute('DROP TABLE users')
    except asyncpg.PostgresError as error:
        print(type(error).__name__)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The release under test."""

    helm: helm_python.Config
    kubeconfig: str

    def serves(self) -> None:
        """Wait until a reader in the subscriber's pod reads a dataset, and the account that was made can log in."""
        script = ["exec", SUBSCRIBER, "--", "python", "-c", READ_AND_LOG_IN, *LOGIN]

        def seen() -> bool:
            lines = kubectl(self.kubeconfig, *script, check=False).splitlines()
            return lines == ["(20, 400, 600)", "True"]

        wait_until(seen, timeout_s=300, what="a dataset read and a login accepted", every_s=1)

    def secrets(self) -> dict[str, Any]:
        """Return the contents of the secrets that the chart made."""
        return {each["metadata"]["name"]: each["data"] for each in objects(self.kubeconfig, "secrets")}

    def pods(self) -> dict[str, Any]:
        """Return the pods of the stateful sets, by name; those of jobs and tests come and go."""
        return {
            each["metadata"]["name"]: each
            for each in objects(self.kubeconfig, "pods")
            if any(owner["kind"] == "StatefulSet" for owner in each["metadata"].get("ownerReferences", []))
        }

    def started(self) -> dict[str, str]:
        """Return the identities of the pods, by name."""
        return {name: pod["metadata"]["uid"] for name, pod in self.pods().items()}

    def made_again(self, pod: str, identity: str) -> bool:
        """Tell whether a pod is there that is not the one of that identity."""
        return self.started().get(pod, identity) != identity

    def changed(self, before: dict[str, str]) -> set[str]:
        """Return the names of the pods that are others than they were."""
        after = self.started()
        return {name for name in before if after.get(name) != before[name]}

    def upgrade(self, values: dict[str, Any]) -> None:
        """Upgrade to the chart of this checkout and wait until its pods are ready."""
        self.helm.upgrade(str(CHART), RELEASE, values, namespace=NAMESPACE, timeout=TIMEOUT_S, wait="legacy")


@pytest.fixture(scope="module")
def site(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A release of the chart's previous version, ready and in use."""
    directory = tmp_path_factory.mktemp("older")
    with tarfile.open(PREVIOUS) as archive:
        archive.extractall(directory, filter="data")
    older = directory / "caterva2"
    with kubernetes() as kubeconfig, helm_python.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as helm:
        options = {"namespace": NAMESPACE, "create_namespace": True, "timeout": TIMEOUT_S, "wait": "legacy"}
        try:
            helm.install(str(older), RELEASE, VALUES, **options)
        except helm_python.HelmError as error:
            pytest.fail(f"{error}\n{kubectl(kubeconfig, 'get', 'pods,pvc,jobs,events')}")
        made = Site(helm, kubeconfig)
        kubectl(kubeconfig, "exec", SUBSCRIBER, "--", "cat2adduser", "-S", *LOGIN)
        yield made


def test_every_pod_is_ready_and_the_migration_is_done(site: Site) -> None:
    states = {name: pod["status"]["containerStatuses"][0] for name, pod in site.pods().items()}
    assert set(states) == {f"site-{part}-0" for part in ("broker", "nats", "postgresql", "pub-sample", "subscriber")}
    assert all(state["ready"] for state in states.values())
    wait_until(lambda: not objects(site.kubeconfig, "jobs"), timeout_s=300, what="a job that succeeded is removed")


def test_helm_test_reads_every_root(site: Site) -> None:
    result = site.helm.test(RELEASE, timeout=600, logs=True)
    assert "sample: 4 paths, 3 arrays" in result["logs"]


def test_a22_the_cluster_holds_the_policies(site: Site) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in objects(site.kubeconfig, "networkpolicies")}
    assert policies["site-deny"]["policyTypes"] == ["Ingress", "Egress"]
    assert {"site-nats", "site-postgresql", "site-broker", "site-publisher", "site-subscriber"} < set(policies)


def test_a_pod_that_dies_comes_back_with_its_state(site: Site) -> None:
    before, dying = site.started(), (SUBSCRIBER, f"{RELEASE}-broker-0", f"{RELEASE}-nats-0")
    # kubectl's own wait may miss that a pod went when its stateful set makes one of the same name at once.
    kubectl(site.kubeconfig, "delete", "pod", *dying, "--wait=false")
    for pod in dying:
        wait_until(lambda pod=pod: site.made_again(pod, before[pod]), timeout_s=TIMEOUT_S, what=f"{pod} made again")
        kubectl(site.kubeconfig, "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=300s", timeout_s=330)
    site.serves()


def test_an_upgrade_from_the_previous_version_and_a_rollback_lose_nothing(site: Site) -> None:
    secrets, before = site.secrets(), site.started()
    site.upgrade(VALUES)
    site.serves()
    assert f"{RELEASE}-postgresql-0" not in site.changed(before), "what did not change goes on"
    upgraded = site.secrets()
    assert kept(secrets, upgraded) == []
    assert base64.b64decode(upgraded["site-postgresql"]["url"]).startswith(b"postgresql+asyncpg://caterva2_serving:")
    may_not = ["exec", SUBSCRIBER, "--", "python", "-c", CHANGE_TABLES]
    assert kubectl(site.kubeconfig, *may_not) == "InsufficientPrivilegeError"

    before = site.started()
    site.upgrade({**VALUES, "subscriber": {"cacheSize": "1G"}})
    site.serves()
    assert site.changed(before) == {SUBSCRIBER}
    assert site.secrets() == upgraded

    site.helm.rollback(RELEASE, version=1, timeout=TIMEOUT_S, wait="legacy")
    site.serves()
    assert kept(secrets, site.secrets()) == []
    assert len(site.helm.history(RELEASE)) == 4


def kept(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return which passwords are others than they were; URLs and users may come and go."""
    return [
        f"{name}: {key}"
        for name, values in before.items()
        for key, value in values.items()
        if key not in ("url", "publisher") and after[name][key] != value
    ]


def test_removing_the_release_keeps_data_and_secrets(site: Site) -> None:
    secrets = site.secrets()
    claims = {each["metadata"]["name"] for each in objects(site.kubeconfig, "pvc", "")}
    site.helm.uninstall(RELEASE, wait="legacy", timeout=TIMEOUT_S)
    wait_until(lambda: not site.started(), timeout_s=300, what="all pods gone", every_s=0.5)
    assert site.secrets() == secrets
    assert {each["metadata"]["name"] for each in objects(site.kubeconfig, "pvc", "")} == claims
    site.helm.install(str(CHART), RELEASE, VALUES, namespace=NAMESPACE, timeout=TIMEOUT_S, wait="legacy")
    site.serves()
