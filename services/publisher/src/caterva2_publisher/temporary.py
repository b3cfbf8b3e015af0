"""Files that programs put beside the ones that people mean: never published."""

from __future__ import annotations

import re

_TEMPORARY = re.compile(
    r"""
      \..+\.sw[a-z]        # vim: swap files
    | 4913                 # vim: asks whether the directory can be written
    | .+~                  # backups
    | \.\#.+ | \#.+\#      # emacs: locks, autosave
    | \.~lock\..+\#        # office programs: locks
    | \.goutputstream-.+   # GNOME
    | \.nfs[0-9a-f]{16,}   # NFS: deleted files that are still open
    | .+\.(part|partial|crdownload)  # downloads
    """,
    re.VERBOSE,
)


def is_temporary(path: str) -> bool:
    """Tell whether the name is that of a temporary file of an editor, a download or a file system."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None
