"""Published numbers to compare with, as data files with their sources.

sources.toml    papers by short name
tables.toml     accuracies printed in tables, at one budget or with 2,000 exemplars
curves.toml     accuracies over the budget, read off plots
areas.toml      AUC and APM
"""

from edgecil.published.numbers import (
    PublishedAccuracy,
    PublishedAreas,
    published_accuracies,
    published_areas,
    published_at,
)

__all__ = [
    "PublishedAccuracy",
    "PublishedAreas",
    "published_accuracies",
    "published_areas",
    "published_at",
]
