"""All rows, in the order of the table."""

from typing import Final

from tests.benchmarks.rows.base import Row
from tests.benchmarks.rows.counts import FAR_COUNTS, PI
from tests.benchmarks.rows.estimates import ESTIMATES
from tests.benchmarks.rows.fair import FAIR
from tests.benchmarks.rows.hot import HOT_GET, HOT_POST
from tests.benchmarks.rows.journal import JOURNAL
from tests.benchmarks.rows.large import COUNT, DOWNLOAD, OVERLAP
from tests.benchmarks.rows.small import COLD_SMALL, NARROW
from tests.benchmarks.rows.statistics import STATISTICS
from tests.benchmarks.rows.whole import MEMORY, START
from tests.benchmarks.rows.worst_waits import WORST_WAITS

ROWS: Final[tuple[Row, ...]] = (
    HOT_POST,
    HOT_GET,
    COLD_SMALL,
    COUNT,
    FAR_COUNTS,
    PI,
    STATISTICS,
    DOWNLOAD,
    MEMORY,
    OVERLAP,
    NARROW,
    FAIR,
    ESTIMATES,
    JOURNAL,
    START,
    WORST_WAITS,
)
