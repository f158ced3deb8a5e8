"""Entry for gunicorn and `flask --app wsgi`. Decides nothing."""

from propmgr.app import create_app

app = create_app()
