"""
``m3w demo``: life-like sessions for a backend that has none yet.

The generator knows nothing of HTTP, and what it makes takes the way of every app's sessions: the batch route.
"""
