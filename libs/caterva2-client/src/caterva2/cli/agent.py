"""``cat2agent``: keeps a directory of a subscriber in step with a local one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from .. import errors, paths
from .._client import Client
from ._commands import CommandError
from ._program import add_options, configure_logging, connection_of, explain, guarded

INTERVAL_S = 2.0
CLOCK_STEP_S = 1.0
"""Seconds by which a local file must be newer than the remote one to count as changed."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a local file from another."""

    size: int
    mtime_ns: int


class Agent:
    """Uploads what is new or changed below a local directory; removes what is gone there only if it may.

    Parameters
    ----------
    local
        The local directory.
    remote
        The directory at the subscriber.
    delete
        Whether remote files without a local one are removed.
    """

    def __init__(self, client: Client, local: Path, remote: PurePosixPath, *, delete: bool = False) -> None:
        self.client = client
        self.local = local
        self.remote = remote
        self.delete = delete
        self._sent: dict[str, Stamp] = {}
        self._seen: dict[str, Stamp] = {}
        self._skipped: set[str] = set()

    def begin(self) -> None:
        """Bring the remote directory into step. Raises httpx.HTTPError if the subscriber refuses or is away."""
        there = set(self._remote_names())
        self._seen = dict(self._scan())
        for name, stamp in self._seen.items():
            if name not in there:
                self._upload(name, stamp, "↑ Initial upload: ")
            elif self._differs(name, stamp):
                self._upload(name, stamp, "✓ Uploaded ")
            else:
                self._sent[name] = stamp
        if self.delete:
            for name in sorted(there - set(self._seen)):
                self._remove(name)

    def step(self) -> None:
        """Send what changed since the last step. A file that is still being written waits for the next one.

        What fails is said on standard error, and tried again in the next step.
        """
        present = dict(self._scan())
        for name, stamp in present.items():
            if self._sent.get(name) != stamp and self._seen.get(name) == stamp:
                self._try(lambda name=name, stamp=stamp: self._upload(name, stamp, "✓ Uploaded "))
        for name in sorted(set(self._sent) - set(present)):
            if self.delete:
                self._try(lambda name=name: self._remove(name))
            else:
                del self._sent[name]
        self._seen = present

    def _try(self, act: Any) -> None:
        try:
            act()
        except (httpx.HTTPError, errors.Caterva2Error, OSError) as error:
            print(f"Error: {explain(error)}", file=sys.stderr, flush=True)

    def _remote_names(self) -> list[str]:
        try:
            return self.client.get_list(self.remote)
        except errors.NotFound:
            return []

    def _scan(self) -> Iterator[tuple[str, Stamp]]:
        """Yield the files below the local directory; links are not followed, hidden and unfit names left out."""
        if not self.local.is_dir():
            # An unmounted directory does not mean that everything was deleted.
            raise CommandError(f"{self.local} is not a directory, or no longer there")
        for path in sorted(self.local.rglob("*")):
            name = path.relative_to(self.local).as_posix()
            if any(part.startswith(".") for part in name.split("/")) or path.is_symlink() or not path.is_file():
                continue
            if self._fits(name):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                yield name, Stamp(found.st_size, found.st_mtime_ns)

    def _fits(self, name: str) -> bool:
        try:
            return paths.check_path(name) == name
        except errors.InvalidName as error:
            if name not in self._skipped:
                self._skipped.add(name)
                print(f"Skipped: {error}", file=sys.stderr, flush=True)
            return False

    def _differs(self, name: str, stamp: Stamp) -> bool:
        """Tell whether a local file is newer than the remote one, or, where that can be compared, of another size."""
        info = self.client.get_info(self.remote / name)
        mtime = _seconds(info.get("mtime"))
        size = None if paths.is_dataset(name) else info.get("size", info.get("nbytes"))
        newer = mtime is None or stamp.mtime_ns / 1e9 > mtime + CLOCK_STEP_S
        return newer or (size is not None and size != stamp.size)

    def _upload(self, name: str, stamp: Stamp, said: str) -> None:
        self.client.upload(self.local / name, self.remote / name)
        self._sent[name] = stamp
        print(f"{said}{name}", flush=True)

    def _remove(self, name: str) -> None:
        with suppress(errors.NotFound):
            self.client.remove(self.remote / name)
        self._sent.pop(name, None)
        print(f"x Removed {name}", flush=True)


def _seconds(mtime: Any) -> float | None:
    """Return a time of an info, which is text in ISO form or seconds, as seconds."""
    if isinstance(mtime, int | float):
        return float(mtime)
    try:
        return datetime.fromisoformat(mtime).timestamp()
    except (TypeError, ValueError):
        return None


def remote_directory(text: str) -> PurePosixPath:
    """Return a directory of a special root, for argparse."""
    path = PurePosixPath(text)
    if path.parts[:1] == () or path.parts[0] not in paths.SPECIAL_ROOTS or len(path.parts) < 2 or ".." in path.parts:
        roots = ", ".join(paths.SPECIAL_ROOTS)
        raise argparse.ArgumentTypeError(f"'{text}' is not a directory below one of {roots}")
    return path


def make_parser(prog: str = "cat2agent") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Keep a directory of a subscriber in step with a local one: upload what is new or changes.",
    )
    add_options(parser)
    parser.add_argument("--delete", action="store_true", help="also remove remote files that are not there locally")
    parser.add_argument("--once", action="store_true", help="bring the directory into step and stop")
    parser.add_argument(
        "--interval", type=float, default=INTERVAL_S, metavar="SECONDS", help="time between looks (default: 2)"
    )
    parser.add_argument("localdir", type=Path, help="the local directory")
    parser.add_argument("remotepath", type=remote_directory, help="the remote directory, like @personal/run7")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit code."""
    args = make_parser().parse_args(argv)

    def run() -> None:
        configure_logging(args.loglevel)
        connection = connection_of(args)
        if not connection.has_credentials:
            raise CommandError("uploading needs a user: log in with 'cat2cli login', or give --username")
        with Client(connection.urlbase, connection.auth) as client:
            agent = Agent(client, args.localdir, args.remotepath, delete=args.delete)
            agent.begin()
            while not args.once:
                time.sleep(args.interval)
                agent.step()

    return guarded(run)
