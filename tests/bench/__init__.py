"""`make bench`: how fast vmferry moves disks, each figure a ratio to what another tool needs on the same machine.

Start reading in __main__.py, then one of the scenarios: stream, nfc, flat, sparse, move, memory.
"""
