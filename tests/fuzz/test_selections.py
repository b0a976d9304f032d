"""Patterns and residue classes in any text: read as what they say, or refused."""

from hypothesis import given
from hypothesis import strategies as st

from primesvc.errors import InvalidParameter
from primesvc.kinds.parameters import read_selection
from primesvc.sieve.grid import find_grid
from primesvc.sieve.selection import MAX_MODULUS, MAX_OFFSET, MAX_OFFSETS, PATTERNS, Selection
from tests.fuzz.search import cases, misspelt

ALPHABET = "0123456789,: -+twinsexy/\0\u0661"

offsets = st.lists(st.integers(0, MAX_OFFSET + 2), max_size=MAX_OFFSETS + 2).map(
    lambda found: ",".join(map(str, sorted({0, *found})))
)
patterns = misspelt(offsets | st.sampled_from(list(PATTERNS)), ALPHABET) | st.text(ALPHABET)
numbers = st.integers(-1, MAX_MODULUS + 2).map(str) | st.text(ALPHABET, max_size=6)
values = st.fixed_dictionaries(
    {}, optional={"pattern": patterns, "modulus": numbers, "residue": numbers}
)


@cases(300)
@given(values)
def test_any_values(asked: dict[str, str]) -> None:
    """A selection is within the limits, and its parameters ask for the same one."""
    selection: Selection | InvalidParameter
    try:
        selection = read_selection(asked)
    except InvalidParameter as error:
        selection = error
    if isinstance(selection, InvalidParameter):
        assert selection.name in asked or selection.name == "residue"
        assert len(str(selection)) < 300
        return
    written = {name: str(value) for name, value in selection.parameters.items()}
    assert read_selection(written) == selection
    assert all(
        form[0] == 0 and sorted(set(form)) == list(form) and form[-1] <= MAX_OFFSET
        for form in selection.forms
    )
    if "modulus" in asked:
        assert (selection.modulus, selection.residue) == (
            int(asked["modulus"].replace("_", "")), int(asked["residue"].replace("_", "")),
        )  # fmt: skip


@cases(300)
@given(misspelt(st.builds(str, st.just(Selection("0,2,8", 30, 11))), ALPHABET))
def test_any_name_of_a_grid(text: str) -> None:
    """What is not the name of a selection is refused, whatever else it is."""
    signature = f"segments:00000000/{text}"
    assert find_grid(signature) is None  # cut otherwise: nothing is read of it
    try:
        selection = Selection.parse(text)
    except ValueError:
        return
    assert str(selection) == text
