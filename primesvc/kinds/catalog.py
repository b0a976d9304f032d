"""The kinds there are, by name."""

from collections.abc import Mapping
from typing import Final

from primesvc.kinds.base import Question
from primesvc.kinds.count import Count
from primesvc.kinds.nth import Nth
from primesvc.kinds.parameters import read_choice
from primesvc.kinds.primes import Primes
from primesvc.kinds.statistics import Statistics

KINDS: Final[dict[str, type[Question]]] = {
    kind.kind: kind for kind in (Primes, Count, Nth, Statistics)
}


def read_question(values: Mapping[str, object]) -> Question:
    """The question of the kind that `kind` names, `primes` if it is not given.

    Raises `InvalidParameter` and `RangeNotAllowed`.
    """
    return KINDS[read_choice("kind", values.get("kind", Primes.kind), list(KINDS))].read(values)
