"""The files of the project in the work tree, without build results."""

import os
import shutil
from pathlib import Path

from lab.prerequisites import PROJECT

BUILT = {".git", "target", "__pycache__"}


def files():
    """All of them, sorted."""
    found = []
    for directory, directories, names in os.walk(PROJECT):
        directories[:] = [name for name in directories if name not in BUILT]
        found += [Path(directory) / name for name in names if name not in BUILT]
    return sorted(found)


def copy(destination):
    """Copies the project and returns the path of the copy."""
    for path in files():
        target = destination / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    return destination
