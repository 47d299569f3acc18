"""The processes that train one network together, and who of them takes which part of a batch.

Alone, without torchrun, a team is one process that takes everything.
"""

import os
from dataclasses import dataclass

import torch.distributed as dist


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees them."""

    rank: int = 0
    """This process among all, from 0; 0 leads."""
    size: int = 1
    """Processes in all."""
    local_rank: int = 0
    """This process among those on its machine."""
    local_size: int = 1
    """Processes on this machine."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0


def team() -> Team:
    """The team that torchrun made; one process without it."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return Team()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Team(*(int(os.environ[name]) for name in names))


def share_of(batch_size: int) -> slice:
    """Which of the `batch_size` pictures of a batch are this process's."""
    here = team()
    edges = [batch_size * rank // here.size for rank in (here.rank, here.rank + 1)]
    return slice(*edges)
