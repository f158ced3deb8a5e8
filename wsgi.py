"""Entry for gunicorn and `flask --app wsgi`. Says why the app cannot start, instead of a traceback; decides nothing."""

import sys

from propmgr.app import create_app
from propmgr.database.embedded import EmbeddedError
from propmgr.kernel.errors import ConfigError

#: gunicorn stops for good when a process ends with this code while it starts, instead of starting it again for ever.
CANNOT_START = 3

try:
    app = create_app()
except (ConfigError, EmbeddedError) as error:
    print(f"propmgr: {error}", file=sys.stderr)
    sys.exit(CANNOT_START)
