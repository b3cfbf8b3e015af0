"""From an HDF5 file to a directory that can be published: what ``cat2import`` does."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from caterva2.errors import BadRequest, Caterva2Error, InvalidName
from caterva2.paths import ARRAY_SUFFIX, check_path, printable

from .assemble import plan_frame
from .base import DatasetSource
from .chunks import placement
from .frames import Coding
from .hdf5 import TRUSTED_FILTERS, Handle, Handles, is_dataset, is_group, open_member, walk

logger = logging.getLogger(__name__)


def import_hdf5(source: Path, target: Path) -> int:
    """Write each dataset of an HDF5 file as a ``.b2nd`` file, and each group as a directory.

    Chunks, and compression where it is Blosc2, are kept; attributes of datasets become attributes of the arrays.
    What cannot be an array is left out, and attributes of groups are: both with a line in the log.

    Parameters
    ----------
    source
        The HDF5 file.
    target
        Directory to be made.

    Returns
    -------
    int
        Number of files written.

    Raises
    ------
    BadRequest
        If `target` exists.
    Caterva2Error
        If `source` cannot be read.
    """
    handles = Handles()
    handle = handles.acquire(str(source))
    try:
        groups, datasets = _members(handle)
        try:
            target.mkdir(parents=True)
        except FileExistsError:
            raise BadRequest(f"{target} exists already") from None
        for group in groups:
            (target / group).mkdir(parents=True, exist_ok=True)
        return sum(_import_dataset(handles, source, member, target) for member in datasets)
    finally:
        handles.release(handle)
        handles.close()


def _members(handle: Handle) -> tuple[list[str], list[str]]:
    groups, datasets = [], []
    with handle.reading() as file:
        if len(file.attrs):
            logger.warning("attributes of the file are left out")
        for name, member in walk(file):
            if is_group(member):
                if len(member.attrs):
                    logger.warning("attributes of group %s are left out", printable(name))
                with suppress(InvalidName):
                    groups.append(check_path(name))
            elif is_dataset(member):
                datasets.append(name)
    return groups, datasets


def _import_dataset(handles: Handles, source: Path, member: str, target: Path) -> int:
    try:
        place = target / check_path(member + ARRAY_SUFFIX)
        with open_member(handles, str(source), member, filters=TRUSTED_FILTERS) as dataset:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_frame(place, dataset, coding=dataset.coding, vlmeta=dataset.attributes)
    except Caterva2Error as error:
        logger.error("%s is left out: %s", printable(member), error.detail)
        return 0
    return 1


def write_frame(
    path: Path, source: DatasetSource, *, coding: Coding | None = None, vlmeta: dict[str, bytes] | None = None
) -> int:
    """Write a dataset as a frame, one chunk in memory at a time; return the size of the file in bytes.

    Parameters
    ----------
    path
        File to be made.
    source
        The dataset.
    coding
        Compression parameters that the frame shall declare.
    vlmeta
        User attributes, packed by msgpack.
    """
    layout, vlmeta = source.layout, vlmeta or {}
    placements = [0] * layout.nchunks
    with path.open("xb") as file:
        # The length of the head does not depend on what it says: chunks can go to their places at once.
        file.seek(len(plan_frame(layout, placements, coding=coding, vlmeta=vlmeta).head))
        for nchunk in range(layout.nchunks):
            chunk = source.chunk(nchunk)
            placements[nchunk] = placement(chunk)
            if placements[nchunk] > 0:
                file.write(chunk)
        plan = plan_frame(layout, placements, coding=coding, vlmeta=vlmeta)
        file.write(plan.tail)
        file.seek(0)
        file.write(plan.head)
    return plan.size
