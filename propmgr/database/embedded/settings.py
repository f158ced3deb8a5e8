"""Decides what is kept beside a cluster (passwords, port, the token of its processes) and how the server is configured.

The file with the passwords is readable by its owner only and always written whole. Never asks the machine for
anything but the size of its memory and a free port.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from propmgr.database.embedded.binaries import EmbeddedError
from propmgr.database.roles import LOGIN_ROLES

SUPERUSER = "postgres"
#: Below the range from which the kernel gives ports to outgoing connections, so that none of those takes ours between
#: two starts.
_PORTS = range(20000, 30000)


@dataclass(frozen=True)
class Settings:
    """What is kept. ``token`` marks our server's processes; ``provisioned`` names the form of the roles last laid
    down."""

    token: str
    port: int
    passwords: Mapping[str, str] = field(repr=False)
    provisioned: str = ""

    @classmethod
    def new(cls) -> Settings:
        """Fresh secrets and a free port."""
        passwords = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, *LOGIN_ROLES)}
        return cls(token=f"propmgr_{secrets.token_hex(6)}", port=free_port(), passwords=passwords)

    @classmethod
    def read(cls, path: Path) -> Settings | None:
        """What the file says; None when there is none. Raises EmbeddedError when it cannot be understood."""
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise EmbeddedError(
                f"The file {path} with the passwords of the embedded database cannot be read ({error}). "
                "Put it back from a backup; without it nobody can log in to the cluster beside it."
            ) from error

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that a kill leaves the old or the new one."""
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # The server sets it too; without it a port that was in use a minute ago would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    with socket.socket() as probe:
        # On some systems a listener on all addresses does not stop the bind above, but it answers.
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on. Raises EmbeddedError when none of a hundred tries is free."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        if port_is_free(port):
            return port
    raise EmbeddedError("No free port was found for the embedded database between 20000 and 30000 on 127.0.0.1.")


def initdb_options(major: int) -> list[str]:
    """UTF-8 with the order of code points: the prefix ranges of the schema need it, and it never changes with the C
    library."""
    if major >= 17:
        return ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # Before 17 order and letters are set apart; Linux always knows C.UTF-8, elsewhere only the letters a-z change case.
    letters = "C.UTF-8" if os.uname().sysname == "Linux" else "C"
    return ["--encoding=UTF8", "--locale=C", "--lc-collate=C", f"--lc-ctype={letters}"]


def hba_text() -> str:
    """Who may connect: our four roles over TCP from this machine, with a password, and nobody else."""
    return f"host all {','.join((SUPERUSER, *LOGIN_ROLES))} 127.0.0.1/32 scram-sha-256\n"


def config_text(*, durable: bool) -> str:
    """The whole postgresql.conf for one small machine; ``durable=False`` trades safety against crashes for speed
    (tests only).

    The port and the token are given on the command line. ``local.conf`` in the data folder may override anything.
    """
    # An eighth of the memory (512 MB of 4 GB): the web processes, the worker and the file cache live here too.
    shared_mb = 128 if not durable else max(64, min(2048, _memory_mb() // 8))
    lines = [
        "listen_addresses = '127.0.0.1'",
        "unix_socket_directories = ''",
        "max_connections = 60",
        "password_encryption = 'scram-sha-256'",
        "timezone = 'Asia/Shanghai'",
        "log_timezone = 'Asia/Shanghai'",
        "datestyle = 'ISO, YMD'",
        "lc_messages = 'C'",
        f"shared_buffers = {shared_mb}MB",
        f"effective_cache_size = {shared_mb * 3}MB",
        "work_mem = 16MB",
        "maintenance_work_mem = 128MB",
        "random_page_cost = 1.1",
        "jit = off",
        # Parallel workers take memory from /dev/shm, 64 MB in most containers, and both cores serve pages already.
        "max_parallel_workers_per_gather = 0",
        "wal_level = minimal",
        "max_wal_senders = 0",
        "max_wal_size = 2GB",
        "min_wal_size = 256MB",
        "wal_compression = on",
        "checkpoint_timeout = 10min",
        "logging_collector = on",
        "log_directory = '../log'",
        "log_filename = 'postgres-%Y%m%d-%H%M%S.log'",
        "log_rotation_age = 1d",
        "log_rotation_size = 5MB",
        "log_line_prefix = '%m [%p] %q%u@%d '",
        # Messages only: statements and the values of a violated key are personal data, which have no place in a log.
        "log_error_verbosity = terse",
        "log_min_error_statement = panic",
        "log_checkpoints = off",
    ]
    if not durable:
        lines += ["fsync = off", "synchronous_commit = off", "full_page_writes = off"]
    return "\n".join(lines) + "\ninclude_if_exists = 'local.conf'\n"


def _memory_mb() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (ValueError, OSError):
        return 4096
