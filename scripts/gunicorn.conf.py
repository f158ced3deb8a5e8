"""How gunicorn serves the pages: two sync processes on this machine only, figures for Prometheus from the master.

    python -m gunicorn --config scripts/gunicorn.conf.py

Environment: PROPMGR_METRICS_PORT (port of 127.0.0.1; unset or 0: no figures) and PROMETHEUS_MULTIPROC_DIR, the folder
in which all processes of one installation add up their figures. A proxy in front does TLS; nothing here ever does.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from propmgr.telemetry import logs

wsgi_app = "wsgi:app"
bind = "127.0.0.1:8000"
# Measured: two sync workers had the best 99th percentile on two cores.
worker_class = "sync"
workers = 2
timeout = 60
graceful_timeout = 10
errorlog = "-"
loglevel = "warning"
# A socket in the home folder by which a second program could steer the server: nobody needs it, so it is not there.
control_socket_disable = True


def on_starting(server):
    """The master's own lines become JSON as well; the folder has to be there before the first figure is counted."""
    logs.configure(os.environ.get("PROPMGR_LOG_LEVEL", "info").lower())
    logging.getLogger("gunicorn.error").setLevel(logging.WARNING)  # that it starts and stops is said by who starts it
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        Path(folder).mkdir(parents=True, exist_ok=True)


def when_ready(server):
    """Serve the sums of all processes from the master, which counts nothing itself."""
    port = int(os.environ.get("PROPMGR_METRICS_PORT") or 0)
    if not port or not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return
    from prometheus_client import CollectorRegistry, multiprocess, start_http_server  # noqa: PLC0415 - the folder first

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    try:
        start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        server.log.warning("Figures for Prometheus are not served: port %s: %s", port, error)


def child_exit(server, worker):
    """Gauges of a process that has ended must not be added up any longer."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess  # noqa: PLC0415 - imported where the folder is known

        multiprocess.mark_process_dead(worker.pid)
