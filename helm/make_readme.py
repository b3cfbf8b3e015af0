"""Write helm/caterva2/README.md from README.head.md and the comments ``# -- ...`` of values.yaml (``make chart``)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "caterva2"
_LINE = re.compile(r"(?P<indent> *)(?:# ?(?P<comment>.*)|(?P<key>[A-Za-z0-9]+):.*)?")


def described_keys(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and the description of every value that `text`, a values.yaml, describes."""
    path: list[tuple[int, str]] = []
    description: list[str] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or (match["comment"] is None and match["key"] is None):
            description = []
        elif match["comment"] is not None:
            if match["comment"].startswith("-- "):
                description = [match["comment"].removeprefix("-- ")]
            elif description:
                description.append(match["comment"])
        else:
            indent = len(match["indent"])
            path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match["key"])]
            if description:
                yield tuple(key for _, key in path), " ".join(description)
            description = []


def readme(chart: Path = CHART) -> str:
    """Return the README of `chart`."""
    text = (chart / "values.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    rows = ["| Value | Default | What it is |", "| --- | --- | --- |"]
    for path, description in described_keys(text):
        default: Any = values
        for key in path:
            default = default[key]
        rows.append(f"| `{'.'.join(path)}` | `{json.dumps(default)}` | {description.replace('|', chr(92) + '|')} |")
    head = (chart / "README.head.md").read_text()
    return f"{head}\n## Values\n\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
