"""The chart, rendered by Helm's own library (the PyPI package helm-python-sdk holds Helm 4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm" / "caterva2"

Manifest = dict[str, Any]


def lint(values: dict[str, Any]) -> list[str]:
    """Return what Helm's linter finds wrong, apart from advice."""
    result = helm_python.lint(str(CHART), values, strict=True, namespace="lab")
    return [message["error"] for message in result["messages"] if "icon is recommended" not in message["error"]]


def render(values: dict[str, Any], *, name: str = "site") -> list[Manifest]:
    """Return the objects that the chart makes of `values`. Raises helm_python.HelmError."""
    with helm_python.Chart.load(str(CHART)) as chart:
        rendered = chart.render(values, name=name, namespace="lab")
    texts = (text for path, text in sorted(rendered.items()) if path.endswith(".yaml"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and pod specification of everything that runs."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["spec"]
        elif manifest["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the only object of a kind and name."""
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name)
    return found
