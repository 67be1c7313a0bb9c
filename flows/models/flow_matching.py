"""Flow matching (Lipman et al. 2023): a velocity field learned by regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count
from flows.networks.architecture import Architecture

if TYPE_CHECKING:
    from flows.networks.densities import Description
    from flows.networks.network_population import NetworkPopulation


class FlowMatching(Architecture):
    """A continuous normalizing flow along straight paths from noise to data.

    One log-density solves a differential equation. For D columns, it takes about as long as
    ``4 solver_steps (1 + D)`` evaluations of the network. Source: Lipman et al. 2023.

    Args:
        hidden: width of the hidden layers of the velocity field.
        layers: number of hidden layers, 1 to 8.
        time_features: number of features of the time that the network gets; each oscillates faster
            than the one before.
        solver_steps: steps of the solver from noise to data, each with four evaluations of the
            network.
        pairing: how noise and points are paired in a batch: ``"independent"``, or
            ``"optimal_transport"``, which minimises the sum of squared distances.

    Examples:
        >>> import flows
        >>> flows.build(flows.FlowMatching(layers=2, hidden=16), (2,), members=5).members
        5
    """

    label: ClassVar[str] = "flow matching"
    color: ClassVar[str] = "#999933"

    hidden: Count = 72
    layers: Annotated[int, Field(ge=1, le=8)] = 6
    time_features: Count = 4
    solver_steps: Count = 12
    pairing: Literal["independent", "optimal_transport"] = "independent"

    @classmethod
    def scored(cls, event_shape: Shape) -> int | None:
        return 10_000

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        from flows.networks.flow_matching_population import FlowMatchingPopulation

        return FlowMatchingPopulation(event_shape, generators, description, **self.model_dump())
