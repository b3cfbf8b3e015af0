"""Commands that tell what is there: roots, subscribe, list, search, info, url."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Iterator
from typing import Any

from .._address import quote_path, remote_path
from .._client import Client
from ._commands import DATASET, Command, CommandError, argument
from ._output import human_size, print_json, print_pretty


def roots(client: Client, args: argparse.Namespace) -> None:
    """Print the roots, and which of them are followed."""
    found = client.get_roots()
    if args.mine:
        found = {name: root for name, root in found.items() if root.get("mine")}
    if args.json:
        print_json(found)
        return
    for name, root in found.items():
        print(f"{name} (subscribed)" if root.get("subscribed") and not args.later else name)


def subscribe(client: Client, args: argparse.Namespace) -> None:
    """Subscribe to a root."""
    answer = client.subscribe(args.root, site=args.site)
    if args.json:
        print_json(answer)
    else:
        print(answer)


def unsubscribe(client: Client, args: argparse.Namespace) -> None:
    """Give up a subscription."""
    who = "everybody" if args.everybody else "site" if args.site else "me"
    answer = client.unsubscribe(args.root, who=who, free=not args.keep)
    if args.json:
        print_json(answer)
    else:
        print(answer)


def list_paths(client: Client, args: argparse.Namespace) -> None:
    """Print the paths below a root, a directory or a dataset."""
    found = client.get_list(args.root)
    if args.json:
        print_json(found)
        return
    for path in found:
        print(path)


def tree(client: Client, args: argparse.Namespace) -> None:
    """Print what is below a root or directory as a tree."""
    found = client.get_list(args.root)
    if args.json:
        print_json(found)
        return
    print(args.root)
    for line in draw_tree(found):
        print(line)


def search(client: Client, args: argparse.Namespace) -> None:
    """Print what is found by words."""
    limit = None if args.all else args.limit
    asked = None if limit is None else limit + 1
    found = client.search(" ".join(args.words), root=args.root, kind=args.kind, newest=args.newest, limit=asked)
    more = limit is not None and len(found) > limit
    found = found[:limit]
    if args.json:
        print_json(found)
    else:
        for entry in found:
            shape = "" if entry["shape"] is None else f"  {entry['dtype']} {tuple(entry['shape'])}"
            print(f"{entry['path']}{shape}  {human_size(entry['nbytes'])}")
    if more:
        print(f"There are more than {limit}: --limit, or --all", file=sys.stderr)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return int(text)


def draw_tree(paths: list[str]) -> Iterator[str]:
    """Yield the lines of a tree of paths."""
    below: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition("/")
        below.setdefault(first, []).extend([rest] if rest else [])
    for number, (name, inner) in enumerate(sorted(below.items()), start=1):
        last = number == len(below)
        yield f"{'└── ' if last else '├── '}{name}"
        for line in draw_tree(inner):
            yield f"{'    ' if last else '│   '}{line}"


def handle(client: Client, args: argparse.Namespace) -> None:
    """Print the address at which a browser shows a dataset."""
    found = _handle(client, args.dataset)
    if args.json:
        print_json(found)
    else:
        print(found)


def browse(client: Client, args: argparse.Namespace) -> None:
    """Open a dataset in a browser."""
    found = f"{_handle(client, args.dataset)}?fullscreen=1"
    if not webbrowser.open(found):
        raise CommandError(f"there is no browser here; the address is {found}")
    if args.json:
        print_json(found)
    else:
        print(found)


def _handle(client: Client, path: str) -> str:
    return f"{client.urlbase}/roots/{quote_path(remote_path(path))}"


def info(client: Client, args: argparse.Namespace) -> None:
    """Print what is known of a dataset."""
    if args.later and not args.json:
        for line in describe(client.get_info(args.dataset)):
            print(line)
        return
    # Programs read standard output as JSON, so that the sentence for people goes elsewhere for them.
    print(f"Getting info for {args.dataset}", file=sys.stderr if args.json else sys.stdout)
    found = client.get_info(args.dataset)
    if args.json:
        print_json(found)
    else:
        print_pretty(found)


def describe(info: dict[str, Any]) -> Iterator[str]:
    """Yield the lines in which later releases of the original show an info."""
    import blosc2

    schunk = info.get("schunk", info)
    facts: dict[str, Any] = {name: info[name] for name in ("shape", "chunks", "blocks", "dtype") if name in info}
    if "shape" not in info:
        facts = {name: schunk[name] for name in ("nchunks", "chunksize", "blocksize", "typesize") if name in schunk}
    facts |= {name: human_size(schunk[name]) for name in ("nbytes", "cbytes", "size") if name in schunk}
    if "cratio" in schunk:
        facts["ratio"] = f"{schunk['cratio']:.2f}x"
    facts |= {name: info[name] for name in ("expression", "operands", "mtime", "error") if info.get(name) is not None}
    for name, value in facts.items():
        yield f"{name:<6}: {tuple(value) if isinstance(value, list) else value}"
    cparams = schunk.get("cparams")
    if cparams:
        filters = [blosc2.Filter(number).name for number in cparams.get("filters", ()) if number]
        yield "cparams:"
        yield f"  codec  : {blosc2.Codec(cparams['codec']).name} ({cparams['codec']})"
        yield f"  clevel : {cparams['clevel']}"
        yield f"  filters: [{', '.join(filters)}]"


def url(client: Client, args: argparse.Namespace) -> None:
    """Print the URL of a dataset."""
    found = client.get_download_url(args.dataset)
    if args.later:
        found = found.replace("/api/fetch/", "/api/download/", 1)
    if args.json:
        print_json(found)
    else:
        print(found)


ROOT = argument("root", help="name of the root")

COMMANDS = (
    Command(
        "roots",
        roots,
        "List the roots",
        (argument("--mine", action="store_true", help="only those that you are subscribed to"),),
    ),
    Command(
        "subscribe",
        subscribe,
        "Subscribe to a root, so that the subscriber follows it",
        (ROOT, argument("--site", action="store_true", help="for the whole site (administrators)")),
    ),
    Command(
        "unsubscribe",
        unsubscribe,
        "Give up a subscription; a root is followed while anybody is subscribed to it",
        (
            ROOT,
            argument("--site", action="store_true", help="that of the whole site (administrators)"),
            argument("--everybody", action="store_true", help="those of all users and the site (administrators)"),
            argument("--keep", action="store_true", help="keep the cached chunks, though nobody follows the root"),
        ),
    ),
    Command(
        "list",
        list_paths,
        "List the datasets and files of a root or directory",
        (argument("root", help="a root, or a path below it"),),
        aliases=("ls",),
    ),
    Command(
        "tree",
        tree,
        "Show the datasets and files of a root or directory as a tree",
        (argument("root", help="a root, or a path below it"),),
        aliases=("tr",),
    ),
    Command(
        "search",
        search,
        "Find datasets and files by words in paths, types (float32), shapes (1030x1065) and attributes (units=mA)",
        (
            argument("words", nargs="*", help="words that must all be found"),
            argument("--root", default="", help="only in this root"),
            argument("--kind", default="", choices=("1d", "2d", "nd", "table", "file"), help="only of this kind"),
            argument("--newest", action="store_true", help="by time of change, the newest first"),
            argument("--limit", type=_positive, default=100, help="at most so many (default: 100)"),
            argument("--all", action="store_true", help="all of them"),
        ),
        aliases=("find",),
    ),
    Command("info", info, "Show what is known of a dataset", (DATASET,)),
    Command("url", url, "Print the URL of a dataset", (DATASET,)),
    Command("handle", handle, "Print the address at which a browser shows a dataset", (DATASET,)),
    Command("browse", browse, "Open a dataset in a browser", (DATASET,)),
)
