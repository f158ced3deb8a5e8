"""运行状态: what the page says of each part; and that no reading route of the house writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from propmgr.config import DatabaseUrls
from propmgr.database.base import db
from propmgr.database.locks import LeaderLock
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.places.edition import PROVINCES
from propmgr.work.commands import request_run
from tests.web.conftest import Lines

pytestmark = pytest.mark.database


def parts(client: FlaskClient) -> dict[str, str]:
    """Name of each part -> the word for its state."""
    page = client.get("/status", headers={"Accept-Language": "en"})
    assert page.status_code == 200
    found = re.findall(r"<h3>(.+?)</h3>.*?<span class=\"tag tag-\w+\">(.*?)</span>", page.text, re.DOTALL)
    return {name: re.sub(r"<svg.*?</svg>", "", word).strip() for name, word in found}


def figures(client: FlaskClient) -> list[str]:
    """The numbers of the tiles, in order."""
    return re.findall(r'<p class="tile-number">([^<]+)<', client.get("/status").text)


def test_the_start_page_leads_here(client: FlaskClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/status")


def test_a_house_just_set_up(client: FlaskClient) -> None:
    assert parts(client) == {
        "Web service": "Normal",
        "Database": "Normal",
        "Data structure": "Normal",
        "Background worker": "Not running",
        "Division codes": "Incomplete",
    }
    assert figures(client) == ["0", "0", "0", "3"]
    assert "还没有运行过任务" in client.get("/status").text


def test_a_house_that_works(client: FlaskClient, urls: DatabaseUrls) -> None:
    fill(urls)
    lock = LeaderLock(urls.direct)
    assert lock.acquire()
    try:
        assert set(parts(client).values()) == {"Normal", "Complete"}
        page = client.get("/status").text
    finally:
        lock.release()
    assert "全部正常" in page
    assert figures(client) == [str(len(PROVINCES)), "3", "14", "4"]
    shown = [int(n) for n in re.findall(r'<td class="number">(\d+)</td>', page)]
    assert shown == [1, 2, 42, 14, 1] and sum(shown) == 60


def fill(urls: DatabaseUrls) -> None:
    """All provinces, and sixty runs of the platform."""
    with psycopg.connect(urls.owner.replace("+psycopg", "")) as connection:
        for code in PROVINCES:
            connection.execute("insert into division (code, name, since_edition) values (%s, %s, 2023)", (code, code))
        status = ["failed"] * 14 + ["cancelled"] + ["done"] * 42 + ["queued"] * 2 + ["running"]
        for number, word in enumerate(status):
            ended = datetime.now(UTC) if word in ("failed", "cancelled", "done") else None
            connection.execute(
                "insert into job_run (id, organisation_id, job, slot, status, queued_at, finished_at, holder)"
                " values (nextval('job_run_id_seq'), 1, 'x.y', %s, %s, now(), %s, %s)",
                (str(number), word, ended, "h" if word == "running" else None),
            )


def test_runs_of_all_organisations_are_counted_and_none_is_named(site: Flask, client: FlaskClient, urls: DatabaseUrls) -> None:
    from propmgr.identity.rules import TenantKind
    from tests.conftest import open_tenant

    with site.app_context():
        company = open_tenant(TenantKind.COMPANY, "甲物业")
        with unit_of_work(operator_act(company)) as act:
            request_run(act, "places.load_divisions", "key")
        with unit_of_work(operator_act(PLATFORM)) as act:
            request_run(act, "places.load_divisions", "key")
    assert figures(client)[1] == "2"
    assert "甲物业" not in client.get("/status").text


def test_a_database_that_goes_away_between_two_questions(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    def gone() -> bool:
        raise OperationalError("select", {}, Exception("李四"))

    monkeypatch.setattr("propmgr.web.platform.status.worker_leads", gone)
    assert figures(client) == ["—", "—", "—", "3"]
    assert parts(client)["Background worker"] == "Unknown"
    assert "status.no_figures" in str(lines())


def test_the_act_of_the_page_carries_the_number_of_the_request(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from propmgr.database.unit_of_work import current_act

    seen = []
    monkeypatch.setattr("propmgr.web.platform.status.worker_leads", lambda: seen.append(current_act()) or True)
    answer = client.get("/status")
    assert [act.request_id for act in seen] == [answer.headers["X-Request-ID"]]
    assert (str(seen[0].actor), seen[0].tenant_id) == ("system:status", PLATFORM)


def test_no_reading_route_writes(site: Flask, client: FlaskClient) -> None:
    """Every transaction of a GET runs on a server that refuses to write; and asking did reach the database."""
    statements: list[str] = []
    with site.app_context():
        engine = db.engine

    @event.listens_for(engine, "begin")
    def _read_only(connection: object) -> None:
        connection.exec_driver_sql("set transaction read only")  # type: ignore[attr-defined]

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    asked = 0
    for rule in site.url_map.iter_rules():
        if "GET" in (rule.methods or ()):
            answer = client.get(re.sub(r"<[^>]+>", "1", rule.rule), buffered=True)
            assert answer.status_code < 500, (rule.rule, answer.text)
            asked += 1
    assert asked >= 5 and any("pg_locks" in statement for statement in statements)
    assert all(re.match(r"\s*(select|set)\b", statement, re.IGNORECASE) for statement in statements)
