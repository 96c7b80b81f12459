"""A file system in a file: ext4 on a loop device, so that a disk can be full, and the power can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

MEGABYTES: Final = 2000
UNMOUNT_TRIES: Final = 50
_NEEDED: Final = ("mkfs.ext4", "e2fsck", "mount", "umount", "losetup")
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Volume:
    """Mounted at `directory`/disk while it is in use. Its content is the file `directory`/disk.img."""

    def __init__(self, directory: Path, megabytes: int = MEGABYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.image = directory / "disk.img"
        self.place = directory / "disk"
        self._ballast = self.place / "ballast"
        self._megabytes = megabytes

    def create(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(self._megabytes * 1024 * 1024)
        # Nothing is kept back for root: a full disk is full for everybody.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(self.image))
        self.place.mkdir()
        self.mount()

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.place))

    def unmount(self) -> None:
        """Those who used it may need a moment to be gone."""
        for _ in range(UNMOUNT_TRIES):
            if not os.path.ismount(self.place) or _ask("umount", str(self.place)).returncode == 0:
                return
            time.sleep(0.1)
        _run("umount", "--lazy", str(self.place))

    def fill(self) -> int:
        """Take all the room that is left; return how much it was."""
        free = shutil.disk_usage(self.place).free
        with self._ballast.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, free)
            except OSError:
                # A little is needed for the book-keeping of the file itself: the rest is taken piece by piece.
                file.seek(0, os.SEEK_END)
                _fill_up(file.fileno())
        return free

    def relieve(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def copy_image(self) -> Path:
        """What is on the disk now, and nothing that is only in memory. The file is sparse, and so is the copy."""
        copy = self.image.with_suffix(".crash")
        _run("cp", "--sparse=always", str(self.image), str(copy))
        return copy

    def go_back_to(self, copy: Path) -> None:
        """Take the copy in place of what was written since. Nobody may use the volume meanwhile."""
        self.unmount()
        copy.replace(self.image)
        _check(self.image)
        self.mount()


def why_not() -> str:
    """Why there can be no volume here; "" when there can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in _NEEDED if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"{missing[0]} is not installed"
    found = _ask("losetup", "--find")
    return "" if found.returncode == 0 else f"no loop device: {found.stderr.strip()}"


def _fill_up(descriptor: int) -> None:
    block = b"\0" * 65_536
    for _ in range(200_000):
        try:
            os.write(descriptor, block)
        except OSError:
            if len(block) == 1:
                return
            block = block[: len(block) // 2] or b"\0"


def _check(image: Path) -> None:
    """Replay the journal, as at every start after a power cut; 1 means that it had something to replay or to mend."""
    checked = _ask("e2fsck", "-p", str(image))
    if checked.returncode > 1:
        raise OSError(f"the file system cannot be mended: {checked.stdout}{checked.stderr}")


def _run(*command: str) -> None:
    done = _ask(*command)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": _PATH}
    return subprocess.run(list(command), check=False, capture_output=True, text=True, env=environment)
