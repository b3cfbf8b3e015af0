"""Writes ``docs/cli.md`` from the parsers themselves: ``python -m tests.unit.client.cli_reference``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from caterva2.cli import make_parser
from caterva2.cli.agent import make_parser as make_agent_parser
from caterva2.cli.tbrowser import make_parser as make_browser_parser

TARGET = Path(__file__).parents[3] / "docs" / "cli.md"

HEAD = """# Command line

<!-- Written by `python -m tests.unit.client.cli_reference` from the parsers of the programs; a test compares them. -->

`cat2cli` reads and manages the data of a subscriber. Long options may be abbreviated (`--user`, `--pass`).

Which subscriber, and as whom: the command line first, then the environment (`CATERVA2_URL`, `CATERVA2_USERNAME`,
`CATERVA2_PASSWORD`, `CATERVA2_TOKEN`), then `caterva2.toml` (in the current directory, `~/.caterva2.toml`,
`/etc/caterva2.toml`: sections `[default]` or the one that `--server` names, `[client]`, `[subscriber]`), then what
`cat2cli login` kept, then `http://localhost:8002` and nobody.

Results go to standard output, with `--json` as one JSON document; all else goes to standard error. Exit codes: 0, 1 for
an error of the command (one line on standard error), 2 for wrong use.

Completion: `eval "$(cat2cli completion bash)"` (or `zsh`); in fish `cat2cli completion fish | source`.

`cat2-client` is the same program with the outputs of later releases of the original: bare names of roots, download
URLs, `info` as a table, `show` of whole arrays. `cat2-agent` is `cat2agent`.
"""


def reference() -> str:
    """Return the page."""
    lines = [HEAD, "## `cat2cli`", ""]
    parser = make_parser()
    lines += [*_options(parser), ""]
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    seen: set[int] = set()
    for name, command in commands.choices.items():
        if id(command) not in seen:
            seen.add(id(command))
            aliases = [alias for alias, other in commands.choices.items() if other is command and alias != name]
            lines += [*_command(name, aliases, command), ""]
    for program in (make_agent_parser(), make_browser_parser()):
        lines += [f"## `{program.prog}`", "", program.description or "", "", *_options(program), ""]
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, aliases: list[str], command: argparse.ArgumentParser) -> Iterator[str]:
    positional = [_metavar(action) for action in command._actions if not action.option_strings]
    also = f" Also `{'`, `'.join(aliases)}`." if aliases else ""
    yield f"### `{' '.join(['cat2cli', name, *positional])}`"
    yield ""
    yield f"{command.description}{also}"
    yield ""
    yield from _options(command)


def _metavar(action: argparse.Action) -> str:
    shown = str(action.metavar or action.dest).upper()
    if action.choices:
        shown = "|".join(map(str, action.choices))
    return {"?": f"[{shown}]", "*": f"[{shown} ...]", "+": f"{shown} ..."}.get(str(action.nargs or ""), shown)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [action for action in parser._actions if action.help and action.dest not in ("help", "command")]
    if not actions:
        return
    yield "| argument | meaning |"
    yield "|---|---|"
    for action in actions:
        value = "" if action.nargs == 0 or not action.option_strings else f" {_metavar(action)}"
        names = [f"{option}{value}" for option in action.option_strings] or [_metavar(action)]
        # A bar would end the cell of the table.
        shown = ", ".join(f"`{name}`" for name in names).replace("|", "\\|")
        yield f"| {shown} | {action.help} |"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
