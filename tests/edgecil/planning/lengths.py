"""How long the plans of these tests train."""

from edgecil.methods.recipes import PhaseRecipe, Recipe
from edgecil.planning.schedules import Epochs


def epochs(first: int, later: int) -> Epochs:
    """So many of the first task, and of each later one, whatever their pictures."""
    phases = PhaseRecipe(first, 0.1, 0.0), PhaseRecipe(later, 0.1, 0.0)
    return Epochs(lambda _: Recipe(*phases, compression=phases[1]))
