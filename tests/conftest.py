"""For all tests.

Hypothesis gives no verdict on time, for the machines that run them are shared. Appliances that tests start themselves,
to build guests and to look into them, are told what converters/appliance.py tells those without KVM.
"""

from __future__ import annotations

import os

from hypothesis import settings

from converters import appliance

settings.register_profile("vmferry", deadline=None)
settings.load_profile("vmferry")
os.environ["LIBGUESTFS_APPEND"] = appliance.environment("tcg")["LIBGUESTFS_APPEND"]
