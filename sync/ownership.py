"""Give what root creates in a folder to the folder's owner, so that a command typed as root locks nobody out.

The service usually runs as a user of its own. A database, key or marker that root made in that user's
folder could not be opened by the service any more.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT_USER = 0  # the only user who may give files away


def give_to_folder_owner(path: Path) -> None:
    """Let a file or folder just created belong to the owner of the folder it is in; does nothing unless root runs this.

    A link is not followed: what it leads to may be anybody's. Killed before: root owns the new file, and the
    service says that it cannot be opened.
    """
    if os.geteuid() == ROOT_USER:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
