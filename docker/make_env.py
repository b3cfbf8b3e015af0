"""Write ``.env`` with strong secrets for ``compose.yaml``; what is in it already is kept.

Run by ``make env``. Secrets begin with a letter: the configuration of nats-server reads ``123abc`` as a number.
"""

import os
import secrets
import sys
from pathlib import Path

SECRETS = (
    "NATS_BROKER_PASSWORD",
    "NATS_PUBLISHER_EXAMPLES_PASSWORD",
    "NATS_PUBLISHER_HDF5_PASSWORD",
    "NATS_PUBLISHER_VOLUMES_PASSWORD",
    "NATS_SUBSCRIBER_PASSWORD",
    "POSTGRES_PASSWORD",
    "POSTGRES_SERVING_PASSWORD",
    "CATERVA2_JOIN_TOKEN",
    "CATERVA2_SECRET",
    "GRAFANA_PASSWORD",
)


def missing_from(text: str) -> list[str]:
    """Return the names of the secrets that `text`, the contents of a ``.env``, does not set."""
    given = {name.strip() for name, equals, value in (line.partition("=") for line in text.splitlines()) if value}
    return [name for name in SECRETS if name not in given]


def main(path: Path) -> None:
    """Add the secrets that the file at `path` lacks; it is readable for its owner only."""
    text = path.read_text() if path.exists() else ""
    missing = missing_from(text)
    if missing:
        added = "".join(f"{name}=s{secrets.token_hex(24)}\n" for name in missing)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(("" if not text or text.endswith("\n") else "\n") + added)
        path.chmod(0o600)
    print(f"{path}: {', '.join(missing) if missing else 'nothing'} added")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env"))
