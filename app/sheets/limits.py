"""How much a sheet may be, and what reading it may cost."""

from __future__ import annotations

MIB = 1 << 20

MAX_BYTES = 50 * MIB  # of the file
MAX_ENTRIES = 2000  # of a zip: an RVTools workbook has some 60
MAX_SHEETS = 200
MAX_UNZIPPED = 512 * MIB  # of all that is read; a vInfo of 10,000 VMs is 50 MiB
MAX_PART = 256 * MIB  # of one of its parts
MAX_RATIO = 200  # of a part; sheets reach 30, deflate 1032
RATIO_COUNTS_FROM = 8 * MIB  # below that it does no harm
MAX_ROWS = 100_000  # of a sheet: a vDisk of 30,000 VMs
MAX_COLUMNS = 1024
MAX_CELLS = 3_000_000  # of a sheet, from its first to its last: calamine keeps the empty ones too
MAX_CELLS_IN_ALL = 6_000_000  # an export of 10,000 VMs with their disks and cards has 2 million
MAX_SHEET_NAME = 255
MAX_TEXT = 32_767  # characters of a cell, as Excel has it
MAX_LINE = 1_000_000  # characters of a line of a CSV
MAX_ANSWER = 128 * MIB  # of what the child says
FALLBACK_SHEETS = 10  # that are read where no name is known

MAX_MEMORY = 512 * MIB  # of the address space of the process that reads
MAX_CPU_S = 60  # of it
MAX_WAIT_S = 120  # for it
READERS = 2  # at the same time
