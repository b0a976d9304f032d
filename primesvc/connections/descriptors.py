"""How many connections there can be: each takes a file descriptor, and these are limited."""

import logging
import sys
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

RESERVED: Final = 256
"""Descriptors for all else: workers, the journal, connections that are being refused."""


LEAST: Final = 16
"""Descriptors that a server has open which has no workers."""


def room_for(connections: int) -> int:
    """How many connections there can be, at most so many, without running out of descriptors.

    Raises the limit of this process (RLIMIT_NOFILE) as far as is needed and allowed.
    """
    if sys.platform == "win32":
        return connections
    import resource  # not on Windows

    wanted = connections + RESERVED
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        raised = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with suppress(OSError, ValueError):  # macOS has a lower limit behind the one it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, most))
            limit = raised
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        return connections
    room = max(limit - RESERVED, (limit - LEAST) // 3, 1)
    log.warning("at most %d connections, as this process may open %d files only", room, limit)
    return min(room, connections)
