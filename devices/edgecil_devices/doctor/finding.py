"""What doctor says of one thing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What doctor says of one thing; of a warning or failure, `says` ends with the remedy."""

    state: Literal["ok", "warn", "fail"]
    name: str
    says: str
