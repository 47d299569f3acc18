"""Lines of a plot can be told apart by colour and by mark."""

from edgecil.methods import METHODS
from edgecil.report.style import line_of


def test_every_method_has_a_colour_and_a_mark_of_its_own() -> None:
    lines = [line_of(method) for method in METHODS]
    assert len({line.colour for line in lines}) == len(METHODS)
    assert len({line.marker for line in lines}) == len(METHODS)


def test_a_method_that_is_not_ours_is_drawn_unlike_all_of_them() -> None:
    assert line_of("podnet").marker not in {line_of(method).marker for method in METHODS}
