"""Runs the whole house on one machine: database first, then migrations, demo city, web and worker; stops in reverse.

Started by ``scripts/run`` (whose head lists the environment) with .venv's Python. Decides order, ports and what happens
when a part dies; never repairs data, never touches a database named by DATABASE_URL, never asks anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from children import METRICS_FOLDER, SCRIPTS, Child, Family, stop_all
from prometheus_client.multiprocess import mark_process_dead
from run_steps import DEFAULT_PORT, parse

sys.path.append(os.fspath(SCRIPTS.parent))

from propmgr.database.embedded import Embedded, EmbeddedError, default_root
from propmgr.database.embedded.processes import end_left_behind
from propmgr.database.embedded.settings import port_is_free

METRICS_PORT = 9464
READY_PATIENCE_S = 120.0
DATABASE_NAMES = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "CHECK_DATABASE_URL")


class Stopped(Exception):
    """Somebody asked us to stop while something was being waited for."""


class Failed(Exception):
    """The house cannot run; the text says why."""


def say(text: str) -> None:
    """One line for the person at the terminal."""
    print(f"propmgr: {text}", flush=True)


def main(arguments: list[str]) -> int:
    """Run until told to stop. 0 stopped in order, 1 could not run, 2 wrong arguments."""
    options = parse(arguments)
    instance = Path(os.environ.get("PROPMGR_INSTANCE") or SCRIPTS.parent / "instance").absolute()
    external = any(os.environ.get(name) for name in DATABASE_NAMES)
    if options.fresh and external:
        print("--fresh only ever empties the embedded database; DATABASE_URL names another one.", file=sys.stderr)
        return 2
    instance.mkdir(parents=True, exist_ok=True)
    with (instance / "run.lock").open("a") as lock:
        try:
            # Held by this process alone and dropped by the kernel: a lock file nobody holds means nothing.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"propmgr is running already: {_last_run(instance).get('address', '(starting)')}", file=sys.stderr)
            return 1
        house = House(instance, external=external)
        try:
            house.open(fresh=options.fresh, demo=options.demo and not external, port=options.port)
            house.watch()
        except Stopped:
            pass
        except (Failed, EmbeddedError) as failure:
            print(f"propmgr: {failure}", file=sys.stderr)
            return 1
        finally:
            house.close()
    return 0


class House:
    """The parts that run, in the order in which they came."""

    def __init__(self, instance: Path, *, external: bool) -> None:
        self.instance = instance
        self.metrics = instance / "metrics"
        self.database = None if external else Embedded(default_root(instance))
        self.children: list[Child] = []
        self.stopping = False
        self._database_not_before = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        self.stopping = True

    def open(self, *, fresh: bool, demo: bool, port: int | None) -> None:
        """Start everything and return when pages are served. Raises Failed, Stopped, EmbeddedError."""
        if token := _last_run(self.instance).get("token"):
            # Children of a supervisor that was killed end by themselves; not all of them may have done so yet.
            end_left_behind(token, gently=signal.SIGTERM, patience_s=10)
        self.port = _web_port(port)
        family = Family(f"propmgr-run-{secrets.token_hex(8)}", self._environment(demo))
        address = family.environment["PROPMGR_PUBLIC_URL"]
        record = {"token": family.token, "pid": os.getpid(), "address": address}
        (self.instance / "run.json").write_text(json.dumps(record))
        if self.database:
            if fresh:
                self._start_over(self.database)
            say("starting the database")
            self.database.start()
        self._prepare(family, demo)
        # The figures of processes that no longer are would be added up for ever.
        shutil.rmtree(self.metrics, ignore_errors=True)
        self.metrics.mkdir(parents=True)
        config, bind = os.fspath(SCRIPTS / "gunicorn.conf.py"), f"127.0.0.1:{self.port}"
        self.children = [
            Child("the web server", lambda: family.start("gunicorn", "--config", config, "--bind", bind)),
            Child("the worker", lambda: family.start("flask", "--app", "wsgi", "worker")),
        ]
        self._wait_until_ready(family.environment)
        say(f"ready at {address}   (Ctrl-C stops it)")
        if demo:
            self._print_logins(family)

    def watch(self) -> None:
        """Keep every part running until asked to stop."""
        while not self.stopping:
            self._tend()
            time.sleep(0.5)

    def close(self) -> None:
        """Stop what runs, the database last; others may still be using that."""
        if self.children:
            say("stopping")
        stop_all(self.children)
        if self.database:
            self.database.release()

    # ------------------------------------------------------------------ parts

    def _environment(self, demo: bool) -> dict[str, str]:
        """What the processes are told; what the caller has set stays as it is."""
        metrics_port = os.environ.get("PROPMGR_METRICS_PORT") or str(_free_from(METRICS_PORT, avoid=self.port))
        defaults = {
            "PROPMGR_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "PROPMGR_DEMO": "1" if demo else "0",
            "PROPMGR_METRICS_PORT": metrics_port,
        }
        told = {name: os.environ.get(name) or value for name, value in defaults.items()}
        told["PROPMGR_INSTANCE"] = os.fspath(self.instance)
        told[METRICS_FOLDER] = os.fspath(self.metrics)
        return dict(os.environ) | told

    def _start_over(self, database: Embedded) -> None:
        say("starting over with an empty database")
        if database.root.exists():
            database.erase()
        if os.environ.get("PROPMGR_HEADS"):
            say(f"the audit heads in {os.environ['PROPMGR_HEADS']} belong to the old database; move them away yourself")
        elif (heads := self.instance / "heads").exists():
            # They prove what was in the old database, so they are put aside and not deleted.
            heads.rename(self.instance / f"heads-until-{datetime.now(UTC):%Y%m%d-%H%M%S}")

    def _prepare(self, family: Family, demo: bool) -> None:
        process = family.start("prepare", *(["--demo"] if demo else []), counted=False)
        while process.poll() is None:
            if self.stopping:
                process.terminate()
                process.wait()
                raise Stopped
            time.sleep(0.05)
        if process.returncode != 0:
            raise Failed("the data could not be made ready; the reason stands above.")

    def _tend(self) -> None:
        if self.database and not self.database.running() and time.monotonic() >= self._database_not_before:
            self._revive(self.database)
        for child in self.children:
            if dead := child.tend(say):
                mark_process_dead(dead, path=os.fspath(self.metrics))

    def _revive(self, database: Embedded) -> None:
        say("the database is not running; starting it again")
        address = database.url("propmgr_app")
        try:
            database.start()
        except EmbeddedError as error:
            say(f"{error}\nanother try in 10 s")
            self._database_not_before = time.monotonic() + 10
            return
        if database.url("propmgr_app") != address:
            # The old port was taken meanwhile, and the processes know no other; they come back with the new one.
            for child in self.children:
                child.ask_to_stop()

    def _wait_until_ready(self, environment: Mapping[str, str]) -> None:
        host = environment.get("PROPMGR_TRUSTED_HOSTS", "").split(",")[0].strip() or "127.0.0.1"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/readyz", headers={"Host": host})
        # A proxy set for the way out must not be asked for our own pages.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_PATIENCE_S
        reason = "no answer"
        while time.monotonic() < deadline:
            if self.stopping:
                raise Stopped
            self._tend()
            try:
                with opener.open(request, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                reason = f"{error.code} {error.read(500).decode('utf-8', 'replace')}"
            except OSError as error:
                reason = str(error)
            time.sleep(0.1)
        raise Failed(f"the pages are not served after {READY_PATIENCE_S:.0f} s: {reason}")

    def _print_logins(self, family: Family) -> None:
        # Printed by the command itself; where the demo has no log-ins to show, it says so by its exit code.
        family.start("flask", "--app", "wsgi", "demo-logins", counted=False, quiet=True).wait()


def _last_run(instance: Path) -> dict[str, str]:
    try:
        return json.loads((instance / "run.json").read_text())
    except (OSError, ValueError):
        return {}


def _web_port(asked: int | None) -> int:
    if asked is not None:
        if asked < 1024 and os.geteuid() != 0:
            raise Failed(f"port {asked} needs root: ports below 1024 are the system's. Choose another with --port.")
        if not port_is_free(asked):
            raise Failed(f"port {asked} of 127.0.0.1 is taken by another program. Choose another with --port.")
        return asked
    port = _free_from(DEFAULT_PORT)
    if port != DEFAULT_PORT:
        say(f"port {DEFAULT_PORT} is taken by another program; using {port}")
    return port


def _free_from(first: int, avoid: int = 0) -> int:
    for port in range(first, first + 100):
        if port != avoid and port_is_free(port):
            return port
    raise Failed(f"no port from {first} to {first + 99} of 127.0.0.1 is free.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
