"""Commands that change what is there: upload, copy, move, remove, append, unfold, combine, expressions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._client import Client
from ._commands import DATASET, Command, CommandError, argument
from ._output import say


def upload(client: Client, args: argparse.Namespace) -> None:
    """Send a local file."""
    stored = client.upload(args.localpath, args.dataset)
    say(args, str(stored), f"Dataset stored in {stored}")


def load(client: Client, args: argparse.Namespace) -> None:
    """Make the subscriber download a file."""
    stored = client.load_from_url(args.url, args.dataset)
    say(args, str(stored), f"Dataset stored in {stored}")


def copy(client: Client, args: argparse.Namespace) -> None:
    """Copy a dataset, file or directory."""
    made = client.copy(args.dataset, args.dest)
    say(args, str(made), f"Dataset {args.dataset} copied to {made}")


def move(client: Client, args: argparse.Namespace) -> None:
    """Move a dataset, file or directory."""
    made = client.move(args.dataset, args.dest)
    say(args, str(made), f"Dataset {args.dataset} moved to {made}")


def remove(client: Client, args: argparse.Namespace) -> None:
    """Remove a dataset, file or directory."""
    removed = client.remove(args.dataset)
    say(args, str(removed), f"Dataset (or directory contents) removed: {args.dataset}")


def append(client: Client, args: argparse.Namespace) -> None:
    """Append a local array to a dataset."""
    shape = client.append(args.dataset, read_array(Path(args.localpath)))
    say(args, list(shape), f"Dataset {args.dataset} has now the shape {shape}")


def read_array(path: Path) -> Any:
    """Return the array in a ``.npy`` or ``.b2nd`` file."""
    if path.suffix == ".npy":
        import numpy as np

        return np.load(path, allow_pickle=False)
    if path.suffix == ".b2nd":
        import blosc2

        try:
            return blosc2.open(str(path), mode="r")
        except RuntimeError as error:
            raise CommandError(f"{path} cannot be read as a Blosc2 array") from error
    raise CommandError(f"{path}: only .npy and .b2nd files hold arrays that can be appended")


def unfold(client: Client, args: argparse.Namespace) -> None:
    """Make the datasets of a container file reachable."""
    directory = client.unfold(args.dataset)
    say(args, str(directory), f"Dataset {args.dataset} unfolded to {directory}")


def combine(client: Client, args: argparse.Namespace) -> None:
    """Join arrays along an axis, or stack them along a new one."""
    how = client.concatenate if args.command.name == "concat" else client.stack
    made = how(args.datasets, args.dest, args.axis)
    say(args, str(made), f"Dataset stored in {made}")


def lazyexpr(client: Client, args: argparse.Namespace) -> None:
    """Store an expression over datasets."""
    operands = dict(_operand(text) for text in args.operands)
    made = client.lazyexpr(args.name, args.expression, operands, compute=args.compute)
    say(args, str(made), f"Dataset stored in {made}")


def _operand(text: str) -> tuple[str, str]:
    variable, equals, path = text.partition("=")
    if not (variable.isidentifier() and equals and path):
        raise CommandError(f"'{text}' is not VARIABLE=DATASET")
    return variable, path


_DEST = argument("dest", help="new path, or a directory")
_COMBINED = (
    argument("datasets", nargs="+", metavar="dataset", help="arrays to put together, in this order"),
    argument("dest", help="path of the new dataset (.b2nd)"),
    argument("--axis", type=int, default=0, help="axis along which they are put together (default: 0)"),
)

COMMANDS = (
    Command(
        "upload",
        upload,
        "Send a local file to the subscriber",
        (
            argument("localpath", help="the local file"),
            argument("dataset", help="path of the new dataset or file: @personal/name, or an existing directory"),
        ),
    ),
    Command(
        "load",
        load,
        "Let the subscriber download a file, from a host that its settings list",
        (
            argument("url", help="where the file is: https://..."),
            argument("dataset", help="path of the new dataset or file: @personal/name, or an existing directory"),
        ),
    ),
    Command("copy", copy, "Copy a dataset, file or directory", (DATASET, _DEST), aliases=("cp",)),
    Command("move", move, "Move a dataset, file or directory", (DATASET, _DEST), aliases=("mv",)),
    Command("remove", remove, "Remove a dataset, file or directory", (DATASET,), aliases=("rm",)),
    Command(
        "append",
        append,
        "Append a local array along the first axis of a dataset",
        (DATASET, argument("localpath", help="a .npy or .b2nd file")),
    ),
    Command("unfold", unfold, "Make the datasets of an HDF5, zip or tar file reachable beside it", (DATASET,)),
    Command("concat", combine, "Join arrays along an axis into a new dataset", _COMBINED),
    Command("stack", combine, "Stack arrays along a new axis into a new dataset", _COMBINED),
    Command(
        "lazyexpr",
        lazyexpr,
        "Store an expression over datasets as @personal/NAME.b2nd",
        (
            argument("name", help="name of the new dataset, without suffix"),
            argument("expression", help="for instance 'a + sin(b)'"),
            argument("operands", nargs="*", metavar="VARIABLE=DATASET", help="the dataset of each variable"),
            argument("--compute", action="store_true", help="store the values, not the expression"),
        ),
    ),
)
