"""The status page and a failed request in a real browser: still, within its width, usable by everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from tests.browser.looking import WIDTHS, Eyes

pytestmark = [pytest.mark.browser, pytest.mark.database]


@pytest.fixture
def house(house: Flask) -> Flask:
    """With a route that fails, and one that does everything a page must not do."""
    house.add_url_rule("/bug", "bug", lambda: [][0])
    house.add_url_rule("/wrong", "wrong", lambda: WRONG)
    return house


WRONG = """<!doctype html><html><head><title></title></head><body>
<p style="color:#ccc">pale</p><div style="width:4000px">wide</div><a href="/" onclick="x()"></a>
<script>document.title = 'inline ran'</script><img src="https://elsewhere.invalid/x.png"><svg width="4000" height="9"></svg>
</body></html>"""


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize(("path", "status"), [("/status", 200), ("/nowhere", 404), ("/bug", 500)])
def test_a_page_is_still_narrow_and_usable(
    eyes: Eyes, address: str, tmp_path: Path, path: str, status: int, language: str
) -> None:
    for width in WIDTHS:
        picture = tmp_path / f"{path.strip('/')}-{width}-{language}.png"
        seen = eyes.look(address + path, width, language, picture)
        assert seen.status == status and seen.title
        assert (width, seen.console, seen.strays, seen.overhang, seen.barriers) == (width, [], [], 0, [])
        if width < 760:
            assert seen.smallest_target >= 44
        assert picture.stat().st_size > 5000


def test_what_a_page_must_not_do_is_seen_and_stopped(eyes: Eyes, address: str) -> None:
    seen = eyes.look(address + "/wrong", 390)
    said = "\n".join(seen.console)
    assert "style-src-attr 'none'" in said and "script-src 'self'" in said and "default-src 'self'" in said
    assert seen.title == "", "the inline script did not run"
    assert seen.overhang > 3000
    assert {barrier.partition(":")[0] for barrier in seen.barriers} >= {"document-title", "link-name", "html-has-lang"}


def test_the_language_is_switched_by_a_plain_form_and_stays(eyes: Eyes, address: str) -> None:
    with eyes.page(390) as page:
        page.goto(address + "/status")
        assert page.locator("h1").inner_text() == "运行状态"
        page.get_by_role("button", name="English").click()
        assert page.url == address + "/status" and page.locator("h1").inner_text() == "Status"
        page.goto(address + "/nowhere")
        assert page.locator("html").get_attribute("lang") == "en"


def test_the_keyboard_reaches_the_content_first(eyes: Eyes, address: str) -> None:
    with eyes.page(1440) as page:
        page.goto(address + "/status")
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "跳到正文"
        assert page.locator(":focus").bounding_box()["x"] >= 0


def test_pages_work_where_nothing_of_others_was_set_up(eyes: Eyes, house: Flask, address: str, tmp_path: Path) -> None:
    css = Path(house.static_folder or "") / "css"
    (tmp_path / "css").symlink_to(css)
    house.static_folder = str(tmp_path)
    seen = eyes.look(address + "/status", 390)
    assert (seen.status, seen.console, seen.strays, seen.overhang, seen.barriers) == (200, [], [], 0, [])
