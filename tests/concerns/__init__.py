"""Every concern that a user may be told of, raised by the thing that raises it: `python -m tests.concerns` writes
docs/concerns.md.

A new concern is a new entry: in vsphere.py or hardware.py when the vSphere source or preflight finds it, in files.py
when an OVA, OVF or VMX source does, in guests.py when a converter or the boot check does.
"""
