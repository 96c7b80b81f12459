"""A second host: a network namespace with workers of its own, which a partition cuts off from everything.

A pair of virtual cables is all that it has; on this side of it links lead to PostgreSQL and to the partners. While it
is cut off, packets are dropped (by nftables in the namespace where it is installed, else by taking the cable out), so
that connections are neither closed nor reset: both sides find out by themselves.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
from typing import Final

from crossdock.prove.nemeses.diary import MENDED, Diary

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_TABLE: Final = "inet crossdock_proof"


class RemoteHost:
    """`inner` and `outer` are the addresses of the cable's ends; nothing of it leaves this machine."""

    def __init__(self) -> None:
        self.name = f"cdprove{os.getpid()}"
        network = 1 + os.getpid() % 250
        self.outer, self.inner = f"10.213.{network}.1", f"10.213.{network}.2"
        self._cable = f"cd{os.getpid()}"
        self._has_nftables = shutil.which("nft", path=_PATH) is not None

    def create(self) -> None:
        """Raises OSError when this machine does not permit it."""
        if os.geteuid() != 0:
            raise OSError("network namespaces need root")
        if shutil.which("ip", path=_PATH) is None:
            raise OSError("ip is not installed")
        _run("ip", "netns", "add", self.name)
        try:
            _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _run("ip", "addr", "add", f"{self.outer}/30", "dev", self._cable)
            _run("ip", "link", "set", self._cable, "up")
            self._inside("ip", "addr", "add", f"{self.inner}/30", "dev", "eth0")
            self._inside("ip", "link", "set", "eth0", "up")
            self._inside("ip", "link", "set", "lo", "up")
        except OSError:
            self.remove()
            raise

    def remove(self) -> None:
        """The cable goes with it."""
        _ask("ip", "netns", "delete", self.name)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What the command of a process begins with that shall run there."""
        return (shutil.which("ip", path=_PATH) or "ip", "netns", "exec", self.name)

    @property
    def how(self) -> str:
        return "nftables drop" if self._has_nftables else "cable out"

    def cut_off(self) -> None:
        if not self._has_nftables:
            _run("ip", "link", "set", self._cable, "down")
            return
        self._inside("nft", "add", "table", *_TABLE.split())
        for hook in ("input", "output"):
            chain = f"add chain {_TABLE} {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
            self._inside("nft", chain)

    def join(self) -> None:
        if self._has_nftables:
            self._inside("nft", "delete", "table", *_TABLE.split())
        else:
            _run("ip", "link", "set", self._cable, "up")

    def _inside(self, *command: str) -> None:
        _run("ip", "netns", "exec", self.name, *command)


class Partition:
    """The second host hears nothing and is not heard, for as long as others need to take over its work, or less."""

    name = "partition"

    def __init__(self, host: RemoteHost, diary: Diary, rest_seconds: tuple[float, float] = (3.0, 10.0)) -> None:
        self._host, self._diary = host, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        seconds = round(chance.uniform(2, 15), 2)
        self._diary.note(self.name, "partition", "remote", f"{self._host.how}, {seconds} s")
        await asyncio.to_thread(self._host.cut_off)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.shield(asyncio.to_thread(self._host.join))
            self._diary.note(self.name, MENDED, "remote")


def _run(*command: str) -> None:
    done = _ask(*command)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": _PATH}
    return subprocess.run(list(command), check=False, capture_output=True, text=True, env=environment)
