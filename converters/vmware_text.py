"""The text of VMware's files, in the encoding that they name themselves."""

from __future__ import annotations

import re

from app.domain.errors import UnsafeImage

_NAMED = re.compile(rb'^[ \t]*\.?encoding[ \t]*=[ \t]*"?([\w.-]{1,40})"?[ \t\r]*$', re.IGNORECASE | re.MULTILINE)
_KNOWN = re.compile(
    r"utf-?8|us-ascii|ascii|windows-(?:125[0-8]|874|932|936|949|950)|iso-8859-(?:[1-9]|1[013-6])"
    r"|gbk|gb2312|gb18030|big5|shift_?jis|euc-(?:jp|kr)|koi8-[ru]"
)


def decode(data: bytes) -> str:
    """UTF-8 where nothing else is said; what is none in that encoding becomes U+FFFD.

    Raises UnsafeImage for an encoding that VMware does not write.
    """
    found = _NAMED.search(data)
    name = found[1].decode("ascii", errors="replace").lower() if found else "utf-8"
    if not _KNOWN.fullmatch(name):
        raise UnsafeImage(f"text in the encoding {name!r}", "Save it as UTF-8, and say so in its line `encoding`.")
    return data.decode(name.replace("windows-", "cp"), errors="replace")
