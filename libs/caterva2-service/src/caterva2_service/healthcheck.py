"""``python -m caterva2_service.healthcheck URL``: whether a service answers, for the health checks of containers.

Exit status 0 if `URL` answers with 200, else 1 and one line that says why. Standard library only: it is started every
few seconds, and our images hold no curl.
"""

import http.client
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0


def problem(url: str, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return why `url` does not answer with 200 within `timeout_s` seconds; None if it does."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            return None if answer.status == http.client.OK else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(500).decode(errors='replace')}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error) or type(error).__name__


def main(arguments: list[str]) -> int:
    """Check the URL given on the command line."""
    if len(arguments) != 1:
        print("usage: python -m caterva2_service.healthcheck URL", file=sys.stderr)  # noqa: T201 - a program
        return 2
    why = problem(arguments[0])
    if why is not None:
        print(f"{arguments[0]}: {why}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
