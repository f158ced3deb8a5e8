"""Decides which database roles exist and what each may do before any table is made, on PostgreSQL 15 and later.

Four roles: ``propmgr_owner`` owns the database and its tables, ``propmgr_app`` serves the pages, ``propmgr_check``
reads for checks and backups, ``propmgr_office`` (no log-in) is what the app becomes for one transaction when it
serves a street office. ``provision`` runs the statements; ``roles_sql`` prints the same statements for the
administrator of somebody else's server.

Never grants anything on a table: that is the business of the migrations. Never makes a role that could step over row
level security.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

OWNER, APP, CHECK, OFFICE = "propmgr_owner", "propmgr_app", "propmgr_check", "propmgr_office"
LOGIN_ROLES = (OWNER, APP, CHECK)
ALL_ROLES = (*LOGIN_ROLES, OFFICE)

#: An app transaction that sits idle this long has lost its program; its locks must not stop the others for ever.
APP_IDLE_IN_TRANSACTION_TIMEOUT = "2min"

#: The server goes on with the statement of a client that was killed, and with its locks; the next one waits for it.
_ROLES_LOCK = "hashtext('propmgr roles')"
_RIGHTS_LOCK = "hashtext('propmgr rights')"
_POWERS = {
    "rolsuper": "nosuperuser",
    "rolcreatedb": "nocreatedb",
    "rolcreaterole": "nocreaterole",
    "rolbypassrls": "nobypassrls",
    "rolreplication": "noreplication",
}
#: The prefix ranges of the schema need the order of code points, whatever the server's default order is.
_CREATE_DATABASE = (
    "select format('create database %I owner propmgr_owner template template0 encoding ''UTF8''"
    " locale_provider libc locale ''C''', :'database')"
    " where not exists (select from pg_database where datname = :'database') \\gexec"
)
_SET_CONFIG = "function pg_catalog.set_config(text, text, boolean)"


def _role(name: str) -> list[str]:
    """A role without powers; powers given by hand earlier are taken away again, and only then, because a managed
    server refuses even to be told ``nosuperuser``. The app role is NOINHERIT before it gets the office role, else it
    would read office rows."""
    kind = "nologin" if name == OFFICE else "login"
    inherit = "noinherit" if name == APP else "inherit"
    actions = [
        _do(f"not exists (select from pg_roles where rolname = '{name}')", f"create role {name} {kind} {inherit}")
    ]
    actions.append(f"alter role {name} {kind} {inherit}")
    for column, option in _POWERS.items():
        has_it = f"exists (select from pg_roles where rolname = '{name}' and {column})"
        actions.append(_do(has_it, f"alter role {name} {option}"))
    return actions


def _do(condition: str, action: str) -> str:
    # Decided on the server, so that a script for psql and our own connection run the same statements.
    return f"do $$ begin if {condition} then {action}; end if; end $$"


def _role_statements() -> list[str]:
    """What holds for the whole server, in order; passwords are set apart from this."""
    statements = [statement for name in ALL_ROLES for statement in _role(name)]
    # From 16 on a grant carries its own inherit option, and a grant made while the role inherited would keep it:
    # grant anew.
    statements.append(_do(f"pg_has_role('{APP}', '{OFFICE}', 'usage')", f"revoke {OFFICE} from {APP}"))
    statements.append(_do(f"not pg_has_role('{APP}', '{OFFICE}', 'member')", f"grant {OFFICE} to {APP}"))
    # On a managed server the administrator is no superuser and may only give a database to a role of which he is a
    # member.
    is_stranger = f"current_setting('is_superuser') = 'off' and not pg_has_role(current_user, '{OWNER}', 'usage')"
    statements.append(_do(is_stranger, f"execute format('grant {OWNER} to %I', current_user)"))
    for name in LOGIN_ROLES:
        statements.append(f"alter role {name} set timezone = 'Asia/Shanghai'")
        statements.append(f"alter role {name} set datestyle = 'ISO, YMD'")
    statements.append(f"alter role {APP} set idle_in_transaction_session_timeout = '{APP_IDLE_IN_TRANSACTION_TIMEOUT}'")
    return statements


def _database_statements(database: str) -> list[str]:
    """What holds inside one database; a copy of a database does not carry its connect rights, so these run after
    every create."""
    name = '"' + database.replace('"', '""') + '"'
    return [
        f"alter database {name} owner to {OWNER}",
        f"revoke all on database {name} from public",
        f"grant connect on database {name} to {', '.join(LOGIN_ROLES)}",
        f"grant temporary on database {name} to {APP}",
        f"alter schema public owner to {OWNER}",
        "revoke all on schema public from public",
        f"grant usage on schema public to {', '.join(ALL_ROLES)}",
    ]


def _set_config_statements() -> list[str]:
    """One injected ``select set_config(...)`` could switch the tenant in mid-query; pg_dump and pg_restore do call
    it."""
    return [f"revoke execute on {_SET_CONFIG} from public", f"grant execute on {_SET_CONFIG} to {OWNER}, {CHECK}"]


def provision(connection: psycopg.Connection[Any], passwords: Mapping[str, str], database: str) -> list[str]:
    """Make roles, database and rights; harmless when repeated.

    ``connection``: an administrator's, autocommit, to any database of the server. ``passwords``: role -> password for
    the three log-in roles; a role left out keeps the password it has. Returns sentences about what this server
    refused (empty when all holds). Raises psycopg.Error when something that must hold could not be done.
    """
    connection.execute(f"select pg_advisory_lock({_ROLES_LOCK})")
    for statement in _role_statements():
        connection.execute(statement)
    for role, password in passwords.items():
        if role not in LOGIN_ROLES:
            raise ValueError(f"{role} is not a role that logs in")
        set_password(connection, role, password)
    if not connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone():
        connection.execute(
            sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(OWNER))
        )
    notes = provision_database(connection, database)
    connection.execute(f"select pg_advisory_unlock({_ROLES_LOCK})")
    return notes


def provision_database(connection: psycopg.Connection[Any], database: str) -> list[str]:
    """The rights inside one existing database, through a connection of its own made like ``connection``. Returns as
    ``provision``."""
    info = connection.info
    with psycopg.connect(info.dsn, password=info.password, dbname=database, autocommit=True) as inside:
        inside.execute(f"select pg_advisory_lock({_RIGHTS_LOCK})")
        for statement in _database_statements(database):
            inside.execute(statement)
        return _lock_set_config(inside)


def set_password(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    """Set a role's password; only the SCRAM verifier travels, so no server log can show the password."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode("ascii")
    connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _lock_set_config(inside: psycopg.Connection[Any]) -> list[str]:
    # Without a superuser the revoke is refused, or does nothing and only warns; what counts is what the app may do
    # afterwards.
    refusal = ""
    try:
        for statement in _set_config_statements():
            inside.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        refusal = f" ({error.diag.message_primary})"
    question = "select has_function_privilege(%s, 'pg_catalog.set_config(text,text,boolean)', 'execute')"
    row = inside.execute(question, [APP]).fetchone()
    if row and row[0]:
        return [
            f"{APP} may still call set_config() in database {inside.info.dbname}: "
            f"only a superuser can revoke it{refusal}. "
            "The one-statement cursor of the application remains as the lock against injected SQL."
        ]
    return []


def roles_sql(database: str = "propmgr") -> str:
    """The same as a script for psql, to be run by the administrator of an own server.

    Passwords are psql variables, so that an unchanged script fails instead of setting known ones:
    ``psql -v owner_password=... -v app_password=... -v check_password=... -v ON_ERROR_STOP=1 -f roles.sql postgres``
    """
    name = '"' + database.replace('"', '""') + '"'
    lines = [
        "-- Roles and rights of propmgr, for psql as superuser (or an administrator with CREATEROLE and CREATEDB),",
        "-- with -v owner_password=... -v app_password=... -v check_password=... -v ON_ERROR_STOP=1",
        "set password_encryption = 'scram-sha-256';",
    ]
    lines += [statement + ";" for statement in _role_statements()]
    lines += [f"alter role {role} password :'{role.removeprefix('propmgr_')}_password';" for role in LOGIN_ROLES]
    lines += ["\\set database '" + database.replace("\\", "\\\\").replace("'", "\\'") + "'", _CREATE_DATABASE]
    lines.append(f"\\connect {name}")
    lines += [statement + ";" for statement in _database_statements(database)]
    lines += ["-- A managed server refuses the next two; the rest holds without them.", "\\set ON_ERROR_STOP off"]
    lines += [statement + ";" for statement in _set_config_statements()]
    return "\n".join(lines) + "\n"
