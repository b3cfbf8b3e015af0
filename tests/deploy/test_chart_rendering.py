"""The chart without a cluster: linted, rendered with every values file of ci/, checked against schemas."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip(
    "helm_python", reason="NOT RUN: requirements-deploy.txt is not installed (make deploy-test does it)"
)
import helm_python
import kubernetes_validate

from caterva2_broker import nats_accounts
from caterva2_service.trust import Role
from tests.deploy.chart import CHART, REPOSITORY, Manifest, find, lint, pods, render

CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES_VERSIONS = ("1.27", "1.32", "1.37")
FOREIGN_GROUPS = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")
TRIAL: dict[str, Any] = {"publishers": {"sample": {"data": {"sample": True}}}}


@pytest.fixture(params=CI_VALUES, ids=lambda path: path.stem)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Values of one of the sites in ci/."""
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def manifests(values: dict[str, Any]) -> list[Manifest]:
    """What the chart makes of `values`."""
    return render(values)


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in pods(manifests):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", container


def test_the_chart_passes_helms_linter(values: dict[str, Any]) -> None:
    assert lint(values) == []


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_object_fits_the_schemas_of_kubernetes(manifests: list[Manifest], version: str) -> None:
    ours = [each for each in manifests if not each["apiVersion"].startswith(FOREIGN_GROUPS)]
    assert len(ours) > 5
    for manifest in ours:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a21_a22_every_pod_is_restricted(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert "hostNetwork" not in pod, name
    for name, container in containers(manifests):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"]["cpu"], name


def test_a22_long_running_containers_have_three_probes(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] != "StatefulSet":
            continue
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
            assert len(probes) == 3
            if container["image"].startswith("caterva2"):
                assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a22_every_pod_is_under_a_policy_and_the_default_is_deny() -> None:
    manifests = render(TRIAL)
    policies = [each for each in manifests if each["kind"] == "NetworkPolicy"]
    deny = find(manifests, "NetworkPolicy", "site-deny")
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny["spec"]
    assert "egress" not in deny["spec"]
    for manifest in manifests:
        if manifest["kind"] == "StatefulSet":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert deny["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    allowed = {
        (policy["metadata"]["name"], port["port"])
        for policy in policies
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
    }
    assert allowed == {
        ("site-nats", 4222),
        ("site-postgresql", 5432),
        ("site-broker", 8000),
        ("site-publisher", 8001),
        ("site-subscriber", 8002),
    }


def test_a19_no_password_is_written_into_a_pod(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        for variable, value in environment(container).items():
            if re.search(r"PASSWORD|SECRET|DATABASE_URL", variable):
                assert "secretKeyRef" in value, f"{name}: {variable}"


def test_a19_secrets_are_strong_and_differ() -> None:
    secrets = [each for each in render(TRIAL) if each["kind"] == "Secret"]
    passwords = [value for secret in secrets for key, value in secret["stringData"].items() if not key.endswith("url")]
    assert len(passwords) == len(set(passwords)) == 7
    assert all(len(password) >= 32 for password in passwords)


def test_every_service_and_container_port_names_its_protocol(manifests: list[Manifest]) -> None:
    ports = [port for each in manifests if each["kind"] == "Service" for port in each["spec"]["ports"]]
    ports += [port for _, container in containers(manifests) for port in container.get("ports", [])]
    assert all("protocol" in port for port in ports)


def test_bundled_servers_go_with_one_value_and_need_a_replacement() -> None:
    for missing in ({}, {"nats": {"url": "nats://bus:4222", "existingSecret": "bus"}}):
        with pytest.raises(helm_python.HelmError, match=r"bundled\.enabled is false: set"):
            render({**missing, "bundled": {"enabled": False}})
    facility = render(yaml.safe_load((CHART / "ci" / "facility-values.yaml").read_text()))
    assert not [each for each in facility if each["metadata"]["name"].endswith(("-nats", "-postgresql"))]


def test_each_root_has_a_publisher_with_a_name_that_kubernetes_takes() -> None:
    roots = ["a", "run_42", "run-42", "x" * 63]
    manifests = render({"publishers": {root: {"data": {"sample": True}} for root in roots}})
    named = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["args"][0]
        for each in manifests
        if each["kind"] == "StatefulSet" and "-pub-" in each["metadata"]["name"]
    }
    assert sorted(named.values()) == sorted(roots)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", name) for name in named)


def test_replicas_need_a_shared_volume() -> None:
    with pytest.raises(helm_python.HelmError, match="more than one subscriber needs subscriber"):
        render({"subscriber": {"replicas": 2}})
    manifests = render({"subscriber": {"replicas": 2, "shared": {"enabled": True}}})
    assert find(manifests, "PersistentVolumeClaim", "site-shared")["spec"]["accessModes"] == ["ReadWriteMany"]
    (container,) = find(manifests, "StatefulSet", "site-subscriber")["spec"]["template"]["spec"]["containers"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment(container)["CATERVA2_SPACES_DIRECTORY"] == mounted["shared"]
    assert find(manifests, "PodDisruptionBudget", "site-subscriber")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"subscriber": {"repicas": 2}},
        {"subscriber": {"replicas": 0}},
        {"subscriber": {"url": "data.example.org"}},
        {"subscriber": {"cacheSize": "lots"}},
        {"publishers": {"Upper": {"data": {"sample": True}}}},
        {"publishers": {"foo": {}}},
        {"publishers": {"foo": {"data": {"sample": True, "volume": {"emptyDir": {}}}}}},
        {"publishers": {"foo": {"access": "everybody", "data": {"sample": True}}}},
        {"nats": {"url": "http://bus:4222"}},
        {"logLevel": "loud"},
        {"postgresql": {"enabled": False}},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError):
        render(wrong)


def test_the_schema_knows_exactly_the_values_there_are() -> None:
    def leaves(value: Any, path: str = "") -> Iterator[str]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}")
        else:
            yield path

    def schema_leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
        if "properties" in schema:
            for key, inner in schema["properties"].items():
                yield from schema_leaves(inner, f"{path}.{key}")
        else:
            yield path

    schema = json.loads((CHART / "values.schema.json").read_text())
    known = set(schema_leaves(schema)) - {".global"}
    given = {
        re.sub(r"([rR]esources)\..*", r"\1", leaf)
        for leaf in leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    }
    assert given == known


def test_the_readme_is_made_from_the_values() -> None:
    spec = importlib.util.spec_from_file_location("make_readme", REPOSITORY / "helm" / "make_readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (CHART / "README.md").read_text() == module.readme(), "run make chart"
    described = {".".join(path) for path, _ in module.described_keys((CHART / "values.yaml").read_text())}
    assert {"publishers", "subscriber.cacheSize", "bundled.enabled"} <= described


def test_versions_of_packages_images_and_chart_agree() -> None:
    packages = {
        tomllib.loads(path.read_text())["project"]["version"]
        for path in [*REPOSITORY.glob("libs/*/pyproject.toml"), *REPOSITORY.glob("services/*/pyproject.toml")]
    }
    (version,) = packages
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version
    for dockerfile in REPOSITORY.glob("services/*/Dockerfile"):
        assert f"ARG VERSION={version}\n" in dockerfile.read_text(), dockerfile
    assert f"${{CATERVA2_VERSION:-{version}}}" in (REPOSITORY / "compose.yaml").read_text()


def test_a11_compose_and_chart_give_the_same_rights_on_the_bus_as_the_brokers_own() -> None:
    def rights(text: str) -> list[str]:
        body = re.sub(r"\$NATS_\w+", "$PASSWORD", text[text.index("SUBSCRIBER:") :])
        return body.replace('"', "").split()

    nats = REPOSITORY / "docker" / "nats"
    compose = (nats / "common.conf").read_text() + (nats / "nats.conf").read_text().partition('"common.conf"')[2]
    roots = {root: {"data": {"sample": True}} for root in ("examples", "hdf5")}
    chart = find(render({"publishers": roots}), "ConfigMap", "site-nats")["data"]["nats.conf"]
    assert rights(compose) == rights(chart)
    assert "sync_interval: always" in compose
    assert "sync_interval: always" in chart

    subscriber = nats_accounts.permissions("subscriber", Role.SUBSCRIBER)
    listed = re.search(r"SUBSCRIBER: \[(.*?)\]", compose, re.DOTALL)
    assert listed is not None
    assert re.findall(r'"([^"]+)"', listed[1]) == subscriber["publish"]["allow"]
    for root in roots:
        allowed = nats_accounts.permissions(f"publisher-{root}", Role.PUBLISHER, root)
        block = re.search(rf"user: publisher-{root},.*?permissions: {{(.*?)}}", compose, re.DOTALL)
        assert block is not None
        assert re.findall(r'"([^"]+)"', block[1]) == allowed["publish"]["allow"] + allowed["subscribe"]["allow"]


def test_a11_each_publisher_has_a_user_of_its_own() -> None:
    roots = {root: {"data": {"sample": True}} for root in ("run_42", "run-42")}
    manifests = render({"publishers": roots})
    users = {
        name: (given["CATERVA2_NATS_USER"], given["CATERVA2_NATS_PASSWORD"]["secretKeyRef"]["key"])
        for name, container in containers(manifests)
        if "CATERVA2_NATS_USER" in (given := environment(container))
    }
    assert len(set(users.values())) == len(users) == 4
    secret = find(manifests, "Secret", "site-nats")["stringData"]
    assert {key for _, key in users.values()} == set(secret)


def test_a11_a_nats_of_ones_own_may_ask_for_nkeys_and_tls() -> None:
    nats = {"url": "tls://bus:4222", "existingSecret": "bus", "nkeys": True, "tlsSecret": "authority"}
    manifests = render({**TRIAL, "nats": nats})
    for name, key in (
        ("site-pub-sample", "publisher-sample"),
        ("site-broker", "broker"),
        ("site-subscriber", "subscriber"),
    ):
        pod = find(manifests, "StatefulSet", name)["spec"]["template"]["spec"]
        given = environment(pod["containers"][0])
        assert "CATERVA2_NATS_PASSWORD" not in given
        (volume,) = (each["projected"] for each in pod["volumes"] if each["name"] == "nats")
        assert volume["sources"][0]["secret"] == {"name": "bus", "items": [{"key": key, "path": "nkey"}]}
        (mounted,) = (each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == "nats")
        assert given["CATERVA2_NATS_NKEY_FILE"] == f"{mounted}/nkey"
        assert given["CATERVA2_NATS_TLS_CA"] == f"{mounted}/ca.crt"
    with pytest.raises(helm_python.HelmError, match="nkeys is for a NATS of yours"):
        render({**TRIAL, "nats": {"nkeys": True}})


def test_u10_nobody_joins_without_the_token_because_a_proxy_passed_it_on() -> None:
    (broker,) = find(render(TRIAL), "StatefulSet", "site-broker")["spec"]["template"]["spec"]["containers"]
    assert environment(broker)["CATERVA2_TRUST_LOOPBACK"] == "false"
    for file in ("compose.yaml", "compose.two-sites.yaml"):
        services = yaml.safe_load((REPOSITORY / file).read_text())["services"]
        assert services["broker"]["environment"]["CATERVA2_TRUST_LOOPBACK"] == "false"


def test_a23_only_the_migration_knows_the_role_that_owns_the_tables() -> None:
    knowing = {
        name
        for name, container in containers(render(TRIAL))
        if "CATERVA2_DATABASE_MIGRATION_URL" in environment(container)
    }
    assert knowing == {"site-migration/migration"}
    secret = find(render(TRIAL), "Secret", "site-postgresql")["stringData"]
    assert "//caterva2_serving:" in secret["url"]
    assert secret["password"] not in secret["url"]


def test_a23_subscribers_need_fewer_connections_than_the_bundled_server_has() -> None:
    with pytest.raises(helm_python.HelmError, match="more than 9 subscribers need a database of yours"):
        render({"subscriber": {"replicas": 10, "shared": {"enabled": True}}})


def test_sample_script_writes_the_arrays_once(tmp_path: Path) -> None:
    script = [sys.executable, str(CHART / "files" / "make_sample.py"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=120)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.b2nd")}
    assert sorted(path.relative_to(tmp_path).as_posix() for path in before) == [
        "images/stack.b2nd",
        "images/waves.b2nd",
        "line.b2nd",
    ]
    subprocess.run(script, check=True, timeout=120)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.b2nd")} == before
