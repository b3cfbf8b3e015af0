"""``cat2tbrowser``: the datasets of a subscriber in a terminal, with a view of their data."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from .. import errors, paths
from .._client import Client
from ._commands import CommandError
from ._output import human_size
from ._program import add_options, configure_logging, connection_of, explain, guarded

if TYPE_CHECKING:
    from textual.app import App

ROWS, COLUMNS = 50, 12
"""Size of the window of data that is shown."""
TEXT_BYTES = 20_000
"""Bytes of a file that are shown."""


def branches(listed: Sequence[str]) -> dict[str, list[str]]:
    """Return the two branches of a root's tree: arrays and frames, and all other files."""
    datasets = [name for name in listed if paths.is_dataset(name)]
    return {"Datasets": datasets, "Files": [name for name in listed if not paths.is_dataset(name)]}


def facts(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is worth showing of an info, by name."""
    schunk = info.get("schunk", info)
    for name in ("shape", "chunks", "blocks", "dtype", "expression", "error"):
        if name in info:
            yield name, str(tuple(info[name]) if isinstance(info[name], list) else info[name])
    for name in ("nbytes", "cbytes", "size"):
        if isinstance(schunk.get(name), int):
            yield name, human_size(schunk[name])
    if schunk.get("cratio"):
        yield "cratio", f"{schunk['cratio']:.2f}x"
    if info.get("mtime"):
        yield "mtime", str(info["mtime"])
    for name, value in (schunk.get("vlmeta") or {}).items():
        yield f"@{name}", str(value)


def window(client: Client, path: str, info: dict[str, Any], at: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Return the titles and rows of a window of data.

    Parameters
    ----------
    at
        Index of the window's first element on each axis. The last two axes (one for structured arrays) are shown.
    """
    if "shape" not in info:
        text = client.fetch(path, (slice(0, TEXT_BYTES),)).decode(errors="replace")
        return ["text"], [[line] for line in text.splitlines()[:1000]]
    shape = info["shape"]
    structured = str(info.get("dtype", "")).startswith("[")
    shown = min(1 if structured else 2, len(shape))
    sizes = (ROWS,) if shown == 1 else (ROWS, COLUMNS)
    lead = tuple(at[: len(shape) - shown])
    key = (*lead, *(slice(start, start + n) for start, n in zip(at[len(lead) :], sizes, strict=False)))
    values = client.fetch(path, key)
    first = at[len(lead)] if shown else 0
    if structured:
        return ["", *values.dtype.names], [[str(first + n), *map(str, row)] for n, row in enumerate(values)]
    if shown < 2:
        flat = values.reshape(-1)
        return ["", "value"], [[str(first + n) if shown else "", str(value)] for n, value in enumerate(flat)]
    titles = [str(at[-1] + n) for n in range(values.shape[1])]
    return ["", *titles], [[str(first + n), *map(str, row)] for n, row in enumerate(values)]


def moved(at: Sequence[int], shape: Sequence[int], axis: int, by: int) -> list[int]:
    """Return the start of a window moved along an axis, kept inside the array."""
    start = list(at)
    start[axis] = max(0, min(start[axis] + by, max(0, shape[axis] - 1)))
    return start


def make_app(client: Client, roots: Sequence[str]) -> App[None]:
    """Return the application. Raises CommandError if Textual is not installed."""
    try:
        from textual.app import App, ComposeResult
        from textual.binding import Binding
        from textual.containers import Horizontal, Vertical
        from textual.widgets import DataTable, Footer, Header, Static, Tree
        from textual.widgets.tree import TreeNode
    except ImportError:
        raise CommandError("the browser needs the package textual: pip install 'caterva2-client[tui]'") from None

    class Browser(App[None]):
        """A tree of datasets; facts and a window of data of the one that is chosen."""

        TITLE = f"Caterva2 {client.urlbase}"
        CSS = "Tree { width: 38%; } #facts { height: auto; max-height: 40%; padding: 0 1; } DataTable { height: 1fr; }"
        BINDINGS: ClassVar = [
            Binding("q", "quit", "Quit"),
            Binding("n", "move(-2, 50)", "Rows down"),
            Binding("p", "move(-2, -50)", "Rows up"),
            Binding("l", "move(-1, 12)", "Right"),
            Binding("h", "move(-1, -12)", "Left"),
            Binding("j", "move(0, 1)", "Next plane"),
            Binding("k", "move(0, -1)", "Previous plane"),
        ]

        def __init__(self) -> None:
            super().__init__()
            self.path: str | None = None
            self.info_: dict[str, Any] = {}
            self.at: list[int] = []

        def compose(self) -> ComposeResult:
            yield Header()
            with Horizontal():
                yield Tree("roots", id="tree")
                with Vertical():
                    yield Static("Choose a dataset.", id="facts", markup=False)
                    yield DataTable(id="data", zebra_stripes=True)
            yield Footer()

        def on_mount(self) -> None:
            tree = self.query_one(Tree)
            tree.root.expand()
            for root in roots:
                self._fill(tree.root.add(root, expand=len(roots) == 1), root)
            tree.focus()

        def _fill(self, node: TreeNode[Any], root: str) -> None:
            for title, names in branches(client.get_list(root)).items():
                branch = node.add(f"{title} ({len(names)})", expand=True)
                for name in names:
                    branch.add_leaf(name, data=f"{root}/{name}")

        def on_tree_node_selected(self, event: Tree.NodeSelected[Any]) -> None:
            if event.node.data is None:
                return
            try:
                self.info_ = client.get_info(event.node.data)
            except (httpx.HTTPError, errors.Caterva2Error, TimeoutError) as error:
                self.notify(explain(error), severity="error")
                return
            self.path = event.node.data
            self.at = [0] * len(self.info_.get("shape", ()))
            lines = [f"{name}: {value}" for name, value in facts(self.info_)]
            self.query_one("#facts", Static).update("\n".join([self.path, *lines]))
            self._show()

        def _show(self) -> None:
            table: DataTable[str] = self.query_one(DataTable)
            table.clear(columns=True)
            if self.path is None:
                return
            try:
                titles, rows = window(client, self.path, self.info_, self.at)
            except (httpx.HTTPError, errors.Caterva2Error, TimeoutError, ValueError) as error:
                self.notify(explain(error), severity="error")
                return
            table.add_columns(*titles)
            for row in rows:
                table.add_row(*row)

        def action_move(self, axis: int, by: int) -> None:
            """Move the window of data along an axis."""
            shape = self.info_.get("shape", ())
            if -len(shape) <= axis < len(shape):
                self.at = moved(self.at, shape, axis, by)
                self._show()

    return Browser()


def make_parser(prog: str = "cat2tbrowser") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description="Browse the datasets of a subscriber in the terminal.")
    add_options(parser)
    parser.add_argument("--root", help="show only this root")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit code."""
    args = make_parser().parse_args(argv)

    def run() -> None:
        configure_logging(args.loglevel)
        connection = connection_of(args)
        with Client(connection.urlbase, connection.auth) as client:
            roots = [args.root] if args.root else list(client.get_roots())
            for root in roots:
                client.get(root)
            make_app(client, roots).run()

    return guarded(run)
