"""Starts drgn, with one change: drgn looks for modules in the current folder first, and that is often a project of somebody else's."""

import sys

from drgn.cli import _main


class Folders(list):
    """Where modules are looked for; "", the current folder, is never put there."""

    def insert(self, index, folder):
        if folder:
            super().insert(index, folder)


if __name__ == "__main__":
    sys.path = Folders(sys.path)
    sys.argv[0] = "drgn"
    _main()
