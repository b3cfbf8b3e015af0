"""Completion of commands, options and the paths of datasets in shells."""

from __future__ import annotations

import argparse
from typing import Any

import httpx

from .._client import Client
from .._transport import DEFAULT_TIMEOUT_S
from ._commands import Command, CommandError, argument
from ._program import connection_of
from ._settings import SettingsError

PATIENCE_S = 2.0
"""Seconds of silence after which completion gives up: somebody waits with a finger on the key."""


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and exit; return at once if none asks."""
    try:
        import argcomplete
    except ImportError:
        return
    for command in _subparsers(parser):
        for action in command._actions:
            if action.dest in ("dataset", "datasets", "root", "dest") and not action.option_strings:
                action.completer = _complete_path  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


def _subparsers(parser: argparse.ArgumentParser) -> set[argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {command for action in actions for command in action.choices.values()}


def _complete_path(prefix: str, parsed_args: argparse.Namespace, **others: Any) -> list[str]:
    """Return roots, or the paths of a root, that begin with what was typed."""
    try:
        connection = connection_of(parsed_args)
        with Client(connection.urlbase, connection.auth, min(PATIENCE_S, DEFAULT_TIMEOUT_S)) as client:
            root, slash, _ = prefix.partition("/")
            if not slash:
                return [f"{name}/" for name in client.get_roots() if name.startswith(prefix)]
            paths = [f"{root}/{name}" for name in client.get_list(root)]
            return [path for path in paths if path.startswith(prefix)]
    except (SettingsError, httpx.HTTPError, OSError, ValueError):  # nothing may be printed here
        return []


def completion(client: Client, args: argparse.Namespace) -> None:
    """Print what makes a shell complete this program's command lines."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise CommandError("completion needs the package argcomplete: pip install 'caterva2-client[cli]'") from None
    print(shellcode(["cat2cli", "cat2-client"], shell=args.shell))


COMMANDS = (
    Command(
        "completion",
        completion,
        'Print the code that makes a shell complete command lines: eval "$(cat2cli completion bash)"',
        (argument("shell", choices=("bash", "zsh", "fish")),),
        json=False,
    ),
)
