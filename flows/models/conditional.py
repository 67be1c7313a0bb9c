"""A flow for a target: p(y | x) of one column after another, each with its own couplings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count
from flows.networks.architecture import FlowArchitecture, features

if TYPE_CHECKING:
    from flows.bijections import Bijection


class Conditional(FlowArchitecture):
    """A flow that learns the density of points y given a context x, column by column::

        p(y | x) = prod_j p(y_j | x, y_1, ..., y_{j-1})

    Each factor has a linear shift, an affine coupling and a spline coupling, which change only y_j.
    They read x and the noise of the earlier columns of y, which determines these columns. The flow
    needs a context: ``flows.build(..., context=d)``. Sources: Papamakarios et al. 2017 (masked
    autoregressive flows); Durkan et al. 2019 (the spline).

    Args:
        hidden: width of both hidden layers of the network of each coupling.
        bins: bins of a spline, 2 to 100.
        linear: whether there is a linear shift.

    Examples:
        >>> import flows
        >>> population = flows.build(flows.Conditional(), (1,), members=5, context=3)
        >>> population.log_prob([[0.5]], context=[[0.0, 1.0, 2.0]]).shape
        torch.Size([1, 5])
    """

    label: ClassVar[str] = "Conditional flow"
    color: ClassVar[str] = "#117733"
    takes_context: ClassVar[bool] = True
    needs_context: ClassVar[bool] = True

    hidden: Count = 32
    bins: Annotated[int, Field(ge=2, le=100)] = 8
    linear: bool = True

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        raise ValueError("the conditional flow needs a context: flows.build(..., context=d)")

    def conditional_chain(
        self, event_shape: Shape, context: int, generators: Generators
    ) -> list[Bijection]:
        from flows.bijections import AffineCoupling, LinearShift, SplineCoupling

        dim = context + features("conditional flow", event_shape)
        bijections: list[Bijection] = []
        for kept in range(context, dim):
            part = {"kept": kept, "changed": 1}
            if self.linear:
                bijections.append(LinearShift(dim, generators, **part))
            bijections.append(AffineCoupling(dim, self.hidden, generators, **part))
            bijections.append(SplineCoupling(dim, self.hidden, generators, bins=self.bins, **part))
        return bijections
