"""The HTTP side of the backend: a thin ASGI adapter around `m3w_core`, and the ``m3w`` command."""
