"""For whoever watches the process. Decides what counts as alive and as ready; never says why not (the log does)."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from propmgr.web.kit.readiness import readiness

blueprint = Blueprint("api_health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """The process answers. Touches nothing: a process must not be restarted because its database is away."""
    return jsonify(alive=True)


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """200 when requests may be sent here, else 503; each part by itself."""
    now = readiness()
    return jsonify(ready=now.ready, database=now.database, schema=now.schema), 200 if now.ready else 503
