"""Shows what the set-up promises: everything pinned, no registry named, only named files, an old Python told kindly."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "scripts"
FILES = ["requirements.txt", "requirements-dev.txt"]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, Requirement]:
    lines = [line for file in FILES for line in (PROJECT / file).read_text().splitlines()]
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {plain(requirement.name): requirement for requirement in wanted}


def test_every_version_is_exact() -> None:
    assert len(pinned()) > 50
    for requirement in pinned().values():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), str(requirement)


def unpinned(pins: dict[str, Requirement]) -> set[str]:
    """What the pinned packages need here and nobody has pinned."""
    missing = set()
    for requirement in pins.values():
        for needed in map(Requirement, metadata.requires(requirement.name) or []):
            extras = [*requirement.extras, ""]
            applies = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras)
            if applies and plain(needed.name) not in pins:
                missing.add(plain(needed.name))
    return missing


def test_what_packages_need_in_turn_is_pinned_too() -> None:
    pins = pinned()
    assert unpinned(pins) == set()
    del pins["markupsafe"]
    assert unpinned(pins) == {"markupsafe"}  # the control: a missing one is found


def test_installed_is_what_is_pinned() -> None:
    for name, requirement in pinned().items():
        assert requirement.specifier.contains(metadata.version(requirement.name)), name


def test_npm_packages_are_exact_and_name_no_registry() -> None:
    package = json.loads((PROJECT / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())
    lock = json.loads((PROJECT / "package-lock.json").read_text())
    entries = {name: entry for name, entry in lock["packages"].items() if name}
    assert {f"node_modules/{name}" for name in package["dependencies"]} <= set(entries)
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in entries.values())
    for file in ("package-lock.json", "package.json", ".npmrc", *FILES):
        assert not re.search(r"registry\.|pypi\.|npmmirror|index-url", (PROJECT / file).read_text()), file
    settings = (PROJECT / ".npmrc").read_text().splitlines()
    assert {"ignore-scripts=true", "save-exact=true", "omit-lockfile-registry-resolved=true"} <= set(settings)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(os.fspath(SCRIPTS))
    import setup_steps

    return setup_steps


def test_a_python_without_venv_is_told_which_package_to_install(steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps._need_ensurepip()  # the control: this Python has it
    monkeypatch.setattr(steps.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(steps.os, "geteuid", lambda: 1000)
    with pytest.raises(steps.SetupFailed, match=r"apt-get install python3\.\d+-venv"):
        steps._need_ensurepip()


@pytest.mark.parametrize(("uid", "code", "installed"), [(0, 0, True), (0, 100, False), (1000, 0, False)])
def test_packages_of_the_system_are_installed_by_root_only(
    steps, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, code: int, installed: bool
) -> None:
    calls = tmp_path / "calls"
    fake = tmp_path / "apt-get"
    fake.write_text(f'#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >> "{calls}"\nexit {code}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", os.fspath(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(steps.os, "geteuid", lambda: uid)
    assert steps.install_system_packages(["chromium"]) is installed
    assert calls.exists() is (uid == 0)
    if uid == 0:
        assert calls.read_text().splitlines()[-1].startswith("noninteractive install -y")


def test_an_interrupted_step_is_done_again_and_a_finished_one_is_not(
    steps, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(steps, "STAMPS", tmp_path / "stamps")
    source = tmp_path / "source"
    source.write_text("1")
    done = []

    def stopped() -> None:
        raise KeyboardInterrupt

    for act, expected in (
        (stopped, 0),
        (lambda: done.append(1), 1),
        (lambda: done.append(1), 1),
    ):
        try:
            steps._step("it", "Doing it", [source], act)
        except KeyboardInterrupt:
            assert act is stopped
        assert len(done) == expected
    source.write_text("2")
    steps._step("it", "Doing it", [source], lambda: done.append(1))
    assert len(done) == 2
    steps._step("it", "Doing it", [source], lambda: done.append(1), lambda: False)
    assert len(done) == 3  # what it made has been deleted


def test_only_named_files_are_copied(steps) -> None:
    assets = steps.assets
    for folder in ("static/vendor", "assets"):
        there = {os.fspath(path.relative_to(PROJECT)) for path in (PROJECT / folder).rglob("*") if path.is_file()}
        named = {target for target in [*assets.FILES.values(), "static/vendor/icons.svg"] if target.startswith(folder)}
        assert there == named
    sprite = assets.ICONS.read_text("utf-8")
    drawn = re.findall(r'<symbol [^>]*id="([a-z0-9-]+)"', sprite)
    assert drawn == assets.icon_names() == sorted(set(drawn))
    assert "<script" not in sprite
    assert "style=" not in sprite
    with pytest.raises(FileNotFoundError):
        assets.sprite(["no-such-icon"], PROJECT / "node_modules/@tabler/icons/icons/outline")


def test_every_icon_of_a_page_is_in_the_sprite() -> None:
    names = set((SCRIPTS / "icons.txt").read_text().split("\n"))
    used = set()
    for template in (PROJECT / "templates").rglob("*.html"):
        used |= set(re.findall(r"""\bicon\(["']([a-z0-9-]+)["']""", template.read_text("utf-8")))
    assert used
    assert used <= names, f"add to scripts/icons.txt: {sorted(used - names)}"


@pytest.mark.parametrize("name", ["setup", "run", "test", "launch.py"])
def test_an_old_python_can_read_what_tells_it_off(name: str) -> None:
    source = (SCRIPTS / name).read_text()
    ast.parse(source, feature_version=(3, 7))
    assert "from __future__ import annotations" not in source  # unknown to 3.6


def test_an_old_python_hands_over_or_is_told(tmp_path: Path) -> None:
    """The Python that runs here plays the old one: it is told that a later one is needed."""
    code = f"import sys; sys.path.insert(0, {os.fspath(SCRIPTS)!r}); import launch; launch.OLDEST = (3, 99)"
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; launch.start('absent')"],
        env={"PATH": os.fspath(nothing)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert told.returncode == 1
    assert "needs Python 3.99" in told.stderr
    assert "apt-get install" in told.stderr
    # One that claims to be new enough is given the same arguments.
    fake = tmp_path / "python3.13"
    fake.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "taken over: $*"\n')
    fake.chmod(0o755)
    code += "; sys.argv = ['scripts/setup', 'a b']; launch.start('absent')"
    taken = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": os.fspath(tmp_path)}, text=True, capture_output=True, check=False
    )
    assert (taken.returncode, taken.stdout) == (0, "taken over: scripts/setup a b\n")


def test_scripts_refuse_what_they_do_not_know() -> None:
    for command, says in ((["setup", "--fast"], "takes no arguments"), (["run", "--port", "x"], "a port is a number")):
        done = subprocess.run(
            [sys.executable, SCRIPTS / command[0], *command[1:]], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 2
        assert says in done.stderr


def test_scripts_can_be_called() -> None:
    for path in (SCRIPTS / "setup", SCRIPTS / "run", SCRIPTS / "test", PROJECT / ".ci" / "run"):
        assert os.access(path, os.X_OK), path
