"""Settings are checked at start; every fault is listed at once with what to write instead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from propmgr.config import PROJECT, load
from propmgr.kernel.errors import ConfigError

GIVEN = {
    "DATABASE_URL": "postgresql://propmgr_app:x@db/propmgr",
    "MIGRATION_DATABASE_URL": "postgresql://propmgr_owner:x@db/propmgr",
    "CHECK_DATABASE_URL": "postgresql+psycopg://propmgr_check:x@db/propmgr",
    "PROPMGR_SECRET_KEY": "k" * 32,
}
SMS = {
    "PROPMGR_SMS": "tencent",
    "PROPMGR_TENCENT_SECRET_ID": "id",
    "PROPMGR_TENCENT_SECRET_KEY": "key",
    "PROPMGR_TENCENT_APP_ID": "1400000000",
    "PROPMGR_TENCENT_SIGN_NAME": "演示物业",
    "PROPMGR_TENCENT_TEMPLATES": "login_code=1, operator_alert=2",
}


def test_nothing_set_is_a_working_house(tmp_path):
    settings = load({"PROPMGR_INSTANCE": str(tmp_path / "实例 一")})
    assert settings.databases is None and settings.sms is None and settings.mail_url is None
    assert settings.heads == tmp_path / "实例 一" / "heads"
    assert set(settings.trusted_hosts) == {"127.0.0.1", "localhost"}


def test_a_key_is_made_once_kept_and_readable_by_its_owner_only(tmp_path):
    environment = {"PROPMGR_INSTANCE": str(tmp_path)}
    keys: list[str] = []
    threads = [threading.Thread(target=lambda: keys.append(load(environment).secret_key)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1 and len(keys[0]) == 64
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_an_own_database(tmp_path):
    databases = load({**GIVEN, "PROPMGR_INSTANCE": str(tmp_path)}).databases
    assert databases is not None
    assert databases.app == databases.direct == "postgresql+psycopg://propmgr_app:x@db/propmgr"
    assert databases.check == "postgresql+psycopg://propmgr_check:x@db/propmgr"
    pooled = load({**GIVEN, "DIRECT_DATABASE_URL": "postgresql://propmgr_app:x@db:5433/propmgr"}).databases
    assert pooled is not None and ":5433" in pooled.direct


def test_a_provider_of_text_messages(tmp_path):
    sms = load({**SMS, "PROPMGR_INSTANCE": str(tmp_path)}).sms
    assert sms is not None and sms.templates == {"login_code": "1", "operator_alert": "2"}


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({k: v for k, v in GIVEN.items() if k != "CHECK_DATABASE_URL"}, "CHECK_DATABASE_URL is missing"),
        ({**GIVEN, "DATABASE_URL": "mysql://x"}, "DATABASE_URL: write postgresql://"),
        ({k: v for k, v in GIVEN.items() if k != "PROPMGR_SECRET_KEY"}, "PROPMGR_SECRET_KEY is missing"),
        ({"PROPMGR_SECRET_KEY": "short"}, "at least 32 characters"),
        ({"PROPMGR_PUBLIC_URL": "wy.example.cn"}, "PROPMGR_PUBLIC_URL"),
        ({"PROPMGR_PUBLIC_URL": "ftp://wy.example.cn"}, "PROPMGR_PUBLIC_URL"),
        ({"PROPMGR_MAIL_URL": "mail.example.cn"}, "PROPMGR_MAIL_URL"),
        ({"PROPMGR_SMS": "carrier pigeon"}, "PROPMGR_SMS"),
        ({"PROPMGR_SMS": "tencent"}, "PROPMGR_TENCENT_SECRET_ID is missing"),
        ({**SMS, "PROPMGR_TENCENT_TEMPLATES": "login_code"}, "kind=template id"),
        ({"PROPMGR_LOG_LEVEL": "loud"}, "PROPMGR_LOG_LEVEL"),
        ({"PROPMGR_METRICS_PORT": "９４６４"}, "PROPMGR_METRICS_PORT"),
        ({"PROPMGR_METRICS_PORT": "70000"}, "PROPMGR_METRICS_PORT"),
        ({"PROPMGR_DEMO": "perhaps"}, "PROPMGR_DEMO"),
    ],
)
def test_a_fault_is_said(tmp_path, environment, says):
    with pytest.raises(ConfigError, match=says):
        load({"PROPMGR_INSTANCE": str(tmp_path), **environment})


def test_all_faults_are_said_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load({"PROPMGR_INSTANCE": str(tmp_path), "PROPMGR_LOG_LEVEL": "loud", "PROPMGR_DEMO": "perhaps"})
    assert str(caught.value).count("\n  * ") == 2


def test_secrets_are_not_in_the_message(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load({**GIVEN, "DATABASE_URL": "mysql://user:hunter2@db/x", "PROPMGR_INSTANCE": str(tmp_path)})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("program", [["flask", "--app", "wsgi", "check"], ["gunicorn", "-b", "127.0.0.1:0", "wsgi:app"]])
def test_a_start_with_wrong_settings_says_so_once_and_ends(tmp_path, program):
    """No traceback for the operator, and no server that starts again for ever."""
    done = subprocess.run(
        [sys.executable, "-m", *program],
        cwd=PROJECT,
        env={**os.environ, "PROPMGR_INSTANCE": str(tmp_path), "PROPMGR_LOG_LEVEL": "loud"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "PROPMGR_LOG_LEVEL: one of debug" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["PROPMGR_INSTANCE", "PROPMGR_HEADS", "PROPMGR_BACKUPS"])
def test_a_folder_that_cannot_be_written_is_said_at_start(tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=name):
        load({"PROPMGR_INSTANCE": str(tmp_path), name: str(tmp_path / "file" / "below")})
