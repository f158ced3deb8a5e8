"""Loading an edition: all of it, again without change, a new edition over an old one, and reading it back."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from propmgr.audit.models import AuditRecord
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.kernel.errors import BadInput
from propmgr.places import commands
from propmgr.places.commands import load_province
from propmgr.places.edition import PROVINCES, read_divisions
from propmgr.places.queries import division, divisions_count, divisions_within, missing_provinces
from propmgr.places.rules import Level

pytestmark = pytest.mark.database


def load(province: str) -> int:
    with unit_of_work(operator_act(PLATFORM)) as act:
        return load_province(act, province)


def test_a_province_is_taken_whole_and_a_second_time_changes_nothing(app):
    rows = sum(1 for _ in read_divisions("46"))
    assert load("46") == rows
    assert load("46") == 0
    with unit_of_work(operator_act(PLATFORM)):
        assert divisions_count() == rows
        assert missing_provinces() == [code for code in PROVINCES if code != "46"]
        details = session().scalars(select(AuditRecord.details).order_by(AuditRecord.id)).all()
    assert details == [
        {"edition": 2023, "added": rows, "renamed": 0, "gone": 0},
        {"edition": 2023, "added": 0, "renamed": 0, "gone": 0},
    ]


def test_a_newer_edition_renames_adds_and_marks_what_is_gone(app, monkeypatch):
    load("46")
    listed = list(read_divisions("46"))
    street = next(code for code, _ in listed if len(code) == 9)
    newer = [(code, "改名街道" if code == listed[-1][0] else name) for code, name in listed if code != street]
    newer.append(("460105999", "新街道"))
    monkeypatch.setattr(commands, "EDITION", 2024)
    monkeypatch.setattr(commands, "read_divisions", lambda province: iter(newer))
    assert load("46") == 3
    with unit_of_work(operator_act(PLATFORM)):
        gone, renamed, added = division(street), division(listed[-1][0]), division("460105999")
        assert gone is not None and gone.gone
        assert renamed is not None and renamed.name == "改名街道" and not renamed.gone
        assert added is not None and added.full_name.endswith("秀英区 新街道")
        assert street not in [place.code for place in divisions_within(street[:6])]
    monkeypatch.undo()
    assert load("46") == 2, "the old edition again: listed again, renamed back; what is newer than it stays"
    with unit_of_work(operator_act(PLATFORM)):
        back, newer_one = division(street), division("460105999")
        assert back is not None and not back.gone and newer_one is not None and not newer_one.gone


def test_places_have_names_levels_and_parts(app):
    load("46")
    with unit_of_work(operator_act(PLATFORM)):
        assert [place.code for place in divisions_within(None)] == ["46"]
        city = division("4601")
        assert city is not None and (city.name, city.level, city.full_name) == ("海口市", Level.CITY, "海南省 海口市")
        assert {place.level for place in divisions_within("4601")} == {Level.DISTRICT}
        assert all(place.full_name.startswith("海南省 海口市 ") for place in divisions_within("4601"))
        assert division("41") is None and divisions_within("41") == []
        for bad in ("4", "46'; --", "４６", ""):
            with pytest.raises(BadInput):
                division(bad)


def test_a_code_that_cannot_be_one_is_refused_by_the_table(app):
    for bad in ("460", "46x1", "4601050010"):
        with pytest.raises(Exception, match="ck_division_code_digits"), unit_of_work(operator_act(PLATFORM)):
            session().execute(
                text("insert into division (code, name, since_edition) values (:c, 'x', 2023)"), {"c": bad}
            )
