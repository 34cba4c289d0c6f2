"""
The application for any ASGI server: ``uvicorn m3w_http.asgi:app``.

The schema must be there already (``m3w migrate``).
"""

import os

from m3w_core import Settings, SettingsError
from m3w_http.app import app_for

settings = Settings.from_env(os.environ)
if settings.database is None:
    raise SettingsError("DATABASE_URL: expected the database to serve; only `m3w serve` brings one along")
app = app_for(settings, settings.database)
