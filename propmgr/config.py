"""Environment -> Settings, checked at start. Decides what a valid configuration is; never connects to anything.

Every fault is listed at once, each with what to write instead. Everything has a default that makes the two commands
work on a fresh machine; a server sets the variables that docs/operate.md lists.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from propmgr.kernel.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent
_DATABASE_NAMES = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "CHECK_DATABASE_URL")


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The three doors to one database: `app` owns nothing, `owner` migrates, `check` reads all for checks and backup.

    `direct` is a connection that no pooler shares (the worker's leader lock lives as long as it does).
    """

    app: str
    owner: str
    check: str
    direct: str


@dataclass(frozen=True, slots=True)
class TencentSms:
    """Account of the SMS provider. `templates` maps our message kinds to the provider's approved template ids."""

    secret_id: str
    secret_key: str
    sdk_app_id: str
    sign_name: str
    templates: dict[str, str]
    region: str = "ap-guangzhou"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the house reads from outside. `databases` is None where the embedded server is used."""

    instance: Path
    heads: Path
    backups: Path
    secret_key: str
    databases: DatabaseUrls | None
    trusted_hosts: tuple[str, ...]
    public_url: str
    sms: TencentSms | None
    mail_url: str | None
    mail_from: str
    operator_email: str | None
    log_level: str
    metrics_port: int
    demo: bool
    debug: bool


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the environment. Raises ConfigError with every fault found."""
    env = os.environ if environment is None else environment
    faults: list[str] = []
    instance = Path(env.get("PROPMGR_INSTANCE") or PROJECT / "instance").absolute()
    if not _can_be_written(instance):
        raise ConfigError("PROPMGR_INSTANCE: %(folder)s cannot be written.", folder=instance)
    databases = _databases(env, faults)
    public_url = env.get("PROPMGR_PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
    host = urlsplit(public_url).hostname
    if urlsplit(public_url).scheme not in ("http", "https") or not host:
        faults.append("PROPMGR_PUBLIC_URL: write a whole address such as https://wy.example.cn")
    trusted = tuple(h.strip() for h in env.get("PROPMGR_TRUSTED_HOSTS", "").split(",") if h.strip())
    mail_url = env.get("PROPMGR_MAIL_URL") or None
    if mail_url and urlsplit(mail_url).scheme not in ("smtp", "smtps"):
        faults.append("PROPMGR_MAIL_URL: write smtps://user:password@host:465 or smtp://user:password@host:587")
    level = env.get("PROPMGR_LOG_LEVEL", "info").lower()
    if level not in ("debug", "info", "warning", "error"):
        faults.append("PROPMGR_LOG_LEVEL: one of debug, info, warning, error")
    settings = Settings(
        instance=instance,
        heads=Path(env.get("PROPMGR_HEADS") or instance / "heads").absolute(),
        backups=Path(env.get("PROPMGR_BACKUPS") or instance / "backups").absolute(),
        secret_key=_secret_key(env, instance, databases, faults),
        databases=databases,
        trusted_hosts=trusted or tuple({"127.0.0.1", "localhost", host or "localhost"}),
        public_url=public_url,
        sms=_sms(env, faults),
        mail_url=mail_url,
        mail_from=env.get("PROPMGR_MAIL_FROM", "propmgr@localhost"),
        operator_email=env.get("PROPMGR_OPERATOR_EMAIL") or None,
        log_level=level,
        metrics_port=_port(env, "PROPMGR_METRICS_PORT", 0, faults),
        demo=_flag(env, "PROPMGR_DEMO", faults),
        debug=_flag(env, "PROPMGR_DEBUG", faults),
    )
    for name, folder in (("PROPMGR_HEADS", settings.heads), ("PROPMGR_BACKUPS", settings.backups)):
        if not _can_be_written(folder):
            faults.append(f"{name}: {folder} cannot be written")
    if faults:
        raise ConfigError("The settings cannot be used:\n" + "\n".join(f"  * {fault}" for fault in faults))
    return settings


def _can_be_written(folder: Path) -> bool:
    """Whether the folder is there and ours to write, or can be made."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except OSError:
        return False


def _databases(env: Mapping[str, str], faults: list[str]) -> DatabaseUrls | None:
    """All three addresses or none: a half-external house would split its data over two databases."""
    given = {name: env[name] for name in _DATABASE_NAMES if env.get(name)}
    if not given:
        return None
    for name in _DATABASE_NAMES:
        if name not in given:
            faults.append(f"{name} is missing: set all three of {', '.join(_DATABASE_NAMES)}, or none")
        elif not given[name].startswith(("postgresql://", "postgresql+psycopg://")):
            faults.append(f"{name}: write postgresql://role:password@host:5432/database")
    if faults:
        return None
    app, owner, check = (_with_driver(given[name]) for name in _DATABASE_NAMES)
    return DatabaseUrls(app, owner, check, direct=_with_driver(env.get("DIRECT_DATABASE_URL") or app))


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _secret_key(env: Mapping[str, str], instance: Path, databases: object, faults: list[str]) -> str:
    """From the environment; beside an embedded database it is made once and kept, so that two commands suffice."""
    key = env.get("PROPMGR_SECRET_KEY", "")
    if key:
        if len(key) < 32:
            faults.append("PROPMGR_SECRET_KEY: at least 32 characters, e.g. from `openssl rand -hex 32`")
        return key
    if databases is not None:
        faults.append("PROPMGR_SECRET_KEY is missing: with an own database it must outlive this folder")
        return ""
    return _kept_secret(instance / "secret_key")


def _kept_secret(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(fresh, path)  # the first of several starters wins; the others read its key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


def _sms(env: Mapping[str, str], faults: list[str]) -> TencentSms | None:
    """No provider named: messages go to the demo outbox, and the start says so."""
    if not env.get("PROPMGR_SMS"):
        return None
    if env["PROPMGR_SMS"] != "tencent":
        faults.append("PROPMGR_SMS: `tencent` is the only provider built; leave it empty for the demo outbox")
        return None
    names = ("SECRET_ID", "SECRET_KEY", "APP_ID", "SIGN_NAME", "TEMPLATES")
    values = {name: env.get(f"PROPMGR_TENCENT_{name}", "") for name in names}
    faults.extend(f"PROPMGR_TENCENT_{name} is missing" for name, value in values.items() if not value)
    pairs = [part.partition("=") for part in values["TEMPLATES"].split(",") if part.strip()]
    if any(not kind.strip() or not number.strip().isdigit() for kind, _, number in pairs):
        faults.append("PROPMGR_TENCENT_TEMPLATES: kind=template id, e.g. login_code=1234567,operator_alert=1234568")
    return TencentSms(
        secret_id=values["SECRET_ID"],
        secret_key=values["SECRET_KEY"],
        sdk_app_id=values["APP_ID"],
        sign_name=values["SIGN_NAME"],
        templates={kind.strip(): number.strip() for kind, _, number in pairs},
        region=env.get("PROPMGR_TENCENT_REGION", "ap-guangzhou"),
    )


def _port(env: Mapping[str, str], name: str, default: int, faults: list[str]) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        faults.append(f"{name}: a port number from 0 (off) to 65535")
        return default
    return int(text)


def _flag(env: Mapping[str, str], name: str, faults: list[str]) -> bool:
    text = env.get(name, "").lower()
    if text not in ("", "0", "1", "false", "true"):
        faults.append(f"{name}: 1 or 0")
    return text in ("1", "true")
