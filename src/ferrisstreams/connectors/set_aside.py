"""What a start with `--overwrite` replaces: kept beside it until an epoch of the new job is final.

The files lie in a hidden folder (`.out.jsonl.replaced`). A start that fails puts them back. One that is killed leaves
them there: the next run finishes what the user has asked for, and deletes them with its first epoch.
"""

from __future__ import annotations

import os
import shutil

from ferrisstreams.connectors.output_file import write_error


class SetAside:
    """`place` is the real path of a file, or what stands for several (`OutputNames.claimed`).

    Raises FatalConnectorError E4003.
    """

    def __init__(self, place: str) -> None:
        self._home, name = os.path.split(place)
        self._folder = os.path.join(self._home, f".{name.replace('*', '_')}.replaced")

    def take(self, path: str) -> None:
        """Move a file there, if it exists. One that lies there already is older, and nothing final has replaced it: it
        stays, and the file is deleted."""
        kept = os.path.join(self._folder, os.path.relpath(path, self._home))
        try:
            if os.path.exists(kept):
                os.unlink(path)
            elif os.path.exists(path):
                os.makedirs(os.path.dirname(kept), exist_ok=True)
                os.rename(path, kept)
        except FileNotFoundError:
            return
        except OSError as error:
            raise write_error(path, error) from error

    def put_back(self) -> None:
        """Move all files to where they were."""
        try:
            for folder, _, names in os.walk(self._folder):
                home = os.path.join(self._home, os.path.relpath(folder, self._folder))
                os.makedirs(home, exist_ok=True)
                for name in names:
                    os.replace(os.path.join(folder, name), os.path.join(home, name))
        except OSError as error:
            raise write_error(self._folder, error) from error
        self.drop()

    def drop(self) -> None:
        """Delete all of it."""
        try:
            shutil.rmtree(self._folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise write_error(self._folder, error) from error
