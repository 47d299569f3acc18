"""The planner: what fits a byte budget, stage by stage, before anything is trained."""

from edgecil.budget import format_bytes
from edgecil.errors import BudgetError
from edgecil.networks import BACKBONES
from edgecil.networks.backbones import can_be_cut
from edgecil.planning.accounting import ACCOUNTINGS
from edgecil.planning.plans import Demand, Plan
from edgecil_devices.counting import counted


def plan(demand: Demand, backbone: str, cut: str, budget_bytes: int) -> Plan:
    """What `backbone` comes to under the demand's accounting."""
    return ACCOUNTINGS[demand.accounting].plan(demand, backbone, cut, budget_bytes)


def alternatives(demand: Demand, cut: str, budget_bytes: int) -> list[Plan]:
    """A plan for every backbone that suits the images and the method and can be cut there."""
    suited = [
        backbone.name
        for backbone in BACKBONES.values()
        if backbone.smallest_image_px <= demand.image_size_px <= backbone.largest_image_px
        and backbone.pretrained is None
        and can_be_cut(backbone, cut)
        and (backbone.width == 1 or demand.method.takes_wide_backbones)
    ]
    return [plan(demand, name, cut, budget_bytes) for name in suited]


def too_small(demand: Demand, smallest: Plan) -> BudgetError:
    """The error for a budget that holds nothing; `smallest` is the plan that needs the least."""
    exemplars = " and one exemplar a class" if demand.method.keeps_exemplars else ""
    tasks = counted(len(smallest.stages), "task")
    return BudgetError(
        f"{format_bytes(smallest.budget_bytes)} cannot hold {tasks}; "
        f"the smallest budget that fits is {format_bytes(smallest.smallest_budget_bytes)}, "
        f"with {smallest.backbone}{exemplars}",
        smallest.smallest_budget_bytes,
    )
