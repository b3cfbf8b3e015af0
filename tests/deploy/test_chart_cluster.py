"""The chart on a real API server and kubelet: installed, tested, upgraded from an older version, rolled back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import helm_python
import pytest
import yaml

from tests.deploy.chart import CHART
from tests.deploy.cluster import NAMESPACE, kubectl, kubernetes, objects
from tests.deploy.compose import TAG
from tests.support.processes import wait_until

RELEASE = "site"
SUBSCRIBER = f"{RELEASE}-subscriber-0"
LOGIN = "admin@example.org", "a long enough password"
VALUES: dict[str, Any] = {
    **yaml.safe_load((CHART / "ci" / "trial-values.yaml").read_text()),
    "image": {"tag": TAG},
}
TIMEOUT_S = 240

READ_AND_LOG_IN = """
import sys, httpx, caterva2
with caterva2.Client('http://127.0.0.1:8002') as client:
    print(client.fetch('sample/images/stack.b2nd').shape)
form = dict(zip(('username', 'password'), sys.argv[1:]))
print(httpx.post('http://127.0.0.1:8002/auth/jwt/login', data=form).status_code in (200, 204))
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

        wait_until(seen, timeout_s=60, what="a dataset read and a login accepted", every_s=1)

    def secrets(self) -> dict[str, Any]:
        """Return the contents of the secrets that the chart made."""
        return {each["metadata"]["name"]: each["data"] for each in objects(self.kubeconfig, "secrets")}

    def started(self) -> dict[str, str]:
        """Return the identities of the pods, by name."""
        pods = objects(self.kubeconfig, "pods")
        return {
            each["metadata"]["name"]: each["metadata"]["uid"] for each in pods if "ownerReferences" in each["metadata"]
        }

    def made_again(self, pod: str, identity: str) -> bool:
        """Tell whether a pod is there that is not the one of that identity."""
        return self.started().get(pod, identity) != identity

    def upgrade(self, values: dict[str, Any]) -> None:
        """Upgrade to the chart of this checkout and wait until its pods are ready."""
        self.helm.upgrade(str(CHART), RELEASE, values, namespace=NAMESPACE, timeout=TIMEOUT_S, wait="legacy")


@pytest.fixture(scope="module")
def site(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A release of an older version of the chart, ready and in use."""
    older = tmp_path_factory.mktemp("older") / "caterva2"
    shutil.copytree(CHART, older)
    description = (older / "Chart.yaml").read_text()
    (older / "Chart.yaml").write_text(description.replace("\nversion: 0.1.0", "\nversion: 0.0.9"))
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
    pods = objects(site.kubeconfig, "pods")
    states = {each["metadata"]["name"]: each["status"]["containerStatuses"][0] for each in pods}
    assert set(states) == {f"site-{part}-0" for part in ("broker", "nats", "postgresql", "pub-sample", "subscriber")}
    assert all(state["ready"] for state in states.values())
    assert not objects(site.kubeconfig, "jobs"), "a job that succeeded is removed"


def test_helm_test_reads_every_root(site: Site) -> None:
    result = site.helm.test(RELEASE, timeout=180, logs=True)
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
        kubectl(site.kubeconfig, "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s", timeout_s=150)
    site.serves()


def test_an_upgrade_and_a_rollback_lose_nothing(site: Site) -> None:
    secrets, before = site.secrets(), site.started()
    site.upgrade({**VALUES, "subscriber": {"cacheSize": "1G"}})
    site.serves()
    assert site.secrets() == secrets
    after = site.started()
    assert {name for name in before if after[name] != before[name]} == {SUBSCRIBER}, "what did not change goes on"

    site.helm.rollback(RELEASE, version=1, timeout=TIMEOUT_S, wait="legacy")
    site.serves()
    assert site.secrets() == secrets
    assert len(site.helm.history(RELEASE)) == 3


def test_removing_the_release_keeps_data_and_secrets(site: Site) -> None:
    secrets = site.secrets()
    claims = {each["metadata"]["name"] for each in objects(site.kubeconfig, "pvc", "")}
    site.helm.uninstall(RELEASE, wait="legacy", timeout=120)
    wait_until(lambda: not site.started(), timeout_s=90, what="all pods gone", every_s=0.5)
    assert site.secrets() == secrets
    assert {each["metadata"]["name"] for each in objects(site.kubeconfig, "pvc", "")} == claims
    site.helm.install(str(CHART), RELEASE, VALUES, namespace=NAMESPACE, timeout=TIMEOUT_S, wait="legacy")
    site.serves()
