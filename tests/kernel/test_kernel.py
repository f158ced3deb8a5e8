"""Acts, errors and crash points."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime

import pytest

from propmgr.config import PROJECT
from propmgr.kernel.act import Act, Actor, ActorKind, operator_act, system_act
from propmgr.kernel.errors import BadInput, Conflict, Forbidden, NotFound, NotReady, PropmgrError

HAND = Actor(ActorKind.STAFF, "7")


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2026, 1, 31, 15, 59, 59, tzinfo=UTC), date(2026, 1, 31)),
        (datetime(2026, 1, 31, 16, 0, 1, tzinfo=UTC), date(2026, 2, 1)),
        (datetime(2027, 12, 31, 16, 0, tzinfo=UTC), date(2028, 1, 1)),
        (datetime(2028, 2, 28, 16, 0, tzinfo=UTC), date(2028, 2, 29)),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_the_business_date_is_shanghais_whatever_the_host_thinks(monkeypatch, instant, day, zone):
    monkeypatch.setenv("TZ", zone)
    assert Act(HAND, 1, instant).today == day


@pytest.mark.parametrize("tenant", [0, -1, True, "1", None])
def test_an_act_is_always_for_one_organisation(tenant):
    with pytest.raises(AssertionError):
        Act(HAND, tenant, datetime.now(UTC))


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(AssertionError):
        Act(HAND, 1, datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_scopes():
    act = Act(HAND, 5, datetime.now(UTC), read_tenants=(5, 6), division="410105")
    assert act.within(9).read_tenants == (9,) and act.within(9).division is None
    assert act.within(9).request_id == act.request_id and str(act.actor) == "staff:7"
    assert operator_act(1).read_tenants == (1,) and system_act(1).actor.kind is ActorKind.SYSTEM
    assert operator_act(1).request_id != operator_act(1).request_id


def test_errors_carry_a_message_to_translate_and_its_parameters():
    error = BadInput("An organisation named %(name)s is already open.", field="name", name="甲")
    assert str(error) == "An organisation named 甲 is already open."
    assert (error.message, error.params, error.field) == (
        "An organisation named %(name)s is already open.",
        {"name": "甲"},
        "name",
    )
    statuses = {e.status for e in (BadInput, NotFound, Forbidden, Conflict, NotReady, PropmgrError)}
    assert statuses == {422, 404, 403, 409, 503, 500}


@pytest.mark.parametrize(("wanted", "survives"), [("here:3", 2), ("here", 0), ("there", 5), ("", 5)])
def test_a_crash_point_kills_at_its_nth_passing_and_nowhere_else(wanted, survives):
    code = "from propmgr.kernel.crash import crash_point\nfor i in range(5):\n crash_point('here'); print(i, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, "PROPMGR_CRASH_AT": wanted, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.split()) == survives
    assert done.returncode == (0 if survives == 5 else -9)
