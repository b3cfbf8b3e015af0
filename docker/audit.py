"""Ask whether anything that the images are made of has a known vulnerability (``make audit``).

Exit code 1 if so. A package on which no advisory data could be had is not one without vulnerabilities, as pip-audit has
it: that is said in capitals, and is a failure with ``--required``.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).with_name("locks")
TIMEOUT_S = 300


def ask(lock: Path) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package of a lock; empty if it says nothing."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--format", "json"]
    options = ["--progress-spinner", "off", "--timeout", "15", "--requirement", str(lock)]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=TIMEOUT_S)
        return list(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError):
        return []


def judge(packages: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Return a line for each vulnerable package, and the number of packages that advisory data was had on."""
    audited = [package for package in packages if "vulns" in package]
    vulnerable = [package for package in audited if package["vulns"]]
    lines = [
        f"{package['name']} {package['version']}: {', '.join(advisory['id'] for advisory in package['vulns'])}"
        for package in vulnerable
    ]
    return lines, len(audited)


def main() -> int:
    """Audit every lock and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--required", action="store_true", help="fail where advisory data is missing")
    options = parser.parse_args()
    found = missing = False
    for lock in sorted(LOCKS.glob("*.txt")):
        packages = ask(lock)
        vulnerable, audited = judge(packages)
        print(f"{lock.stem}: {audited} of {len(packages)} packages audited, {len(vulnerable)} vulnerable")
        sys.stdout.writelines(f"  {line}\n" for line in vulnerable)
        found, missing = found or bool(vulnerable), missing or audited < max(1, len(packages))
        if not audited:
            break
    if missing:
        print("NOT AUDITED: there is no advisory data to be had here. Run `make audit` where there is internet.")
    return 1 if found or (missing and options.required) else 0


if __name__ == "__main__":
    sys.exit(main())
