"""For all tests. Hypothesis gives no verdict on time, for the machines that run them are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("vmferry", deadline=None)
settings.load_profile("vmferry")
