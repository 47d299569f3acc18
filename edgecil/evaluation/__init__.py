"""How good a network is after each task."""
