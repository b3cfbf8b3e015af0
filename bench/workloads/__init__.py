"""The workloads of docs/performance.md, in the order in which they are measured."""

from __future__ import annotations

from .catalogue import catalogue, large, largest
from .changes import edited, propagation
from .cold import cold, distant, readers
from .hdf5 import hdf5
from .run import LONG, SHORT, Effort, Run, Workload
from .sharing import memory, offline, soak, upload
from .warm import slices, whole, windows, with_client

__all__ = ["LONG", "SHORT", "WORKLOADS", "Effort", "Run", "Workload"]

WORKLOADS: dict[str, Workload] = {
    "windows": Workload(windows),
    "slices": Workload(slices),
    "whole": Workload(whole),
    "client": Workload(with_client),
    "hdf5": Workload(hdf5),
    "soak": Workload(soak, once=True),
    "memory": Workload(memory, once=True),
    "offline": Workload(offline, once=True),
    "cold": Workload(cold, roots=("data",), links=("far", "thin")),
    "distant": Workload(distant, roots=("data",), links=("far",)),
    "readers": Workload(readers, roots=("data",), links=("far",)),
    "changes": Workload(propagation, roots=("changes",), once=True),
    "edited": Workload(edited, roots=("changes",)),
    "upload": Workload(upload, roots=(), links=("large",), once=True),
    "catalogue": Workload(catalogue, roots=(), links=("large",), once=True),
    "large": Workload(large, roots=(), links=("large",), once=True),
    "largest": Workload(largest, roots=(), links=("large",), once=True),
}
