"""The PostgreSQL server the house brings along (自带数据库), for everybody who does not name a DATABASE_URL.

==============  =====================================================================================
``server``      ``Embedded``: start, stop, find again, share and give up one server in one folder; its databases
``cluster``     the data folder and the server process: made, started from any state, stopped
``binaries``    which PostgreSQL programs are used, and as whom they run when we are root
``settings``    what is kept beside the cluster (passwords, port) and the server's configuration
``processes``   which running processes belong to our server, alive or left behind
``locks``       file locks that serialise starting and count users across processes
==============  =====================================================================================

Callers: the application's configuration, ``scripts/run``, the test fixtures, backup and restore.
"""

from propmgr.database.embedded.binaries import EmbeddedError, default_root
from propmgr.database.embedded.server import Embedded

__all__ = ["Embedded", "EmbeddedError", "default_root"]
