"""A worker that dies around the call: nothing is forgotten, and a repetition is bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from propmgr.config import PROJECT, DatabaseUrls
from propmgr.identity.rules import PLATFORM
from propmgr.messages import jobs
from propmgr.messages.gateways.demo import DemoOutbox, newest
from propmgr.messages.gateways.port import Ports
from propmgr.messages.rules import LEASE, MOST_ATTEMPTS
from tests.conftest import Pair
from tests.messages.outbox import NOW, Provider, after, look, queue_alert, queue_code

pytestmark = pytest.mark.database

WORKER = """
import sys
from datetime import datetime
from pathlib import Path
from propmgr.app import create_app
from propmgr.messages.gateways.demo import DemoOutbox
from propmgr.messages.gateways.port import Ports
from propmgr.messages.jobs import deliver_due

outbox = DemoOutbox(Path(sys.argv[1]))
with create_app().app_context():
    deliver_due(Ports(outbox, outbox), 1, at=datetime.fromisoformat(sys.argv[2]))
"""


def run_worker(urls: DatabaseUrls, outbox: Path, at: datetime, crash_at: str) -> int:
    """A worker in a process of its own. Returns how it ended."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PROPMGR_")},
        "DATABASE_URL": urls.app.replace("+psycopg", ""),
        "MIGRATION_DATABASE_URL": urls.owner.replace("+psycopg", ""),
        "CHECK_DATABASE_URL": urls.check.replace("+psycopg", ""),
        "PROPMGR_SECRET_KEY": "k" * 64,
        "PROPMGR_INSTANCE": str(outbox.parent),
        "PROPMGR_CRASH_AT": crash_at,
    }
    command = [sys.executable, "-c", WORKER, str(outbox), at.isoformat()]
    return subprocess.run(command, env=environment, cwd=PROJECT, timeout=60).returncode


@pytest.mark.parametrize(("crash_at", "already_out"), [("provider.before", 0), ("provider.after", 1)])
def test_killed_around_the_call(
    two_companies: Pair, urls: DatabaseUrls, tmp_path: Path, crash_at: str, already_out: int
) -> None:
    outbox = tmp_path / "outbox"
    message_id = queue_code(two_companies.a)
    assert run_worker(urls, outbox, NOW, crash_at) == -signal.SIGKILL
    assert len(newest(outbox, 9)) == already_out
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.due_at) == ("sending", 1, NOW + LEASE)
    assert run_worker(urls, outbox, after(LEASE.total_seconds() - 1), "") == 0
    assert len(newest(outbox, 9)) == already_out, "the attempt may still be under way elsewhere"
    assert run_worker(urls, outbox, NOW + LEASE, "") == 0
    assert len(newest(outbox, 9)) == already_out + 1
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.due_at, seen.parameters) == ("sent", 2, None, {})


class Killed(BaseException):
    """What SIGKILL leaves behind: nothing after it ran, and no transaction was open."""


def test_a_message_that_always_kills_its_worker_is_given_up(
    two_companies: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = DemoOutbox(tmp_path / "outbox")
    message_id = queue_alert(two_companies.a)

    def die(point: str) -> None:
        if point == "provider.after":
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "crash_point", die)
        for attempt in range(1, MOST_ATTEMPTS + 1):
            seen = look(two_companies.a, message_id)
            assert seen.due_at is not None
            with pytest.raises(Killed):
                jobs.deliver_due(Ports(outbox, outbox), PLATFORM, at=seen.due_at)
            assert len(newest(tmp_path / "outbox", 99)) == attempt
        last = look(two_companies.a, message_id).due_at
        assert last is not None
        assert jobs.deliver_due(Ports(outbox, outbox), PLATFORM, at=last) == 0
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.error, seen.due_at) == ("failed", MOST_ATTEMPTS, "NoAnswer", None)
    assert len(newest(tmp_path / "outbox", 99)) == MOST_ATTEMPTS
    assert Provider().deliver(after(10**6)) == 0
