"""A check of the properties that every bijection must have."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from flows.bijections.bijection import Bijection
from flows.core.arrays import Shape

POINTS, FEW = 100, 3  # points per member; points whose Jacobian is computed
SPREAD = 3.0  # of the points, so that some of them are beyond the bounds of splines
MEMBERS = 3  # of a bijection without parameters and buffers
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}
OTHER = {"forward": "inverse", "inverse": "forward"}
SMALL = 1e-4  # errors below this are errors of rounding
AXIS = (
    "a tensor of the wrong shape; parameters and buffers are (M, ...) for M members, or one number "
    "for all members, and the code takes M from its input"
)


def check_bijection(
    bijection: Bijection,
    dim: int | Shape,
    members: int | None = None,
    *,
    points: Tensor | None = None,
    perturbation: float = 0.3,
    tolerance: float = TOLERANCES[torch.float64],
    seed: int = 0,
) -> None:
    """Check that a bijection does what ``Bijection`` requires; return nothing if it does.

    The check initializes a copy of the bijection with Gaussian points, and adds Gaussian noise to
    all parameters, because many bijections start as the identity, for which wrong code is right.
    Then it checks, in this order and in both directions:

    - outputs are finite, and have the shapes and the types of the interface, in single and in
      double precision;
    - neither the points nor the parameters of a member change the output of another member, a
      member alone gives the same output as in the population, and no point changes another one;
    - each direction undoes the other;
    - gradients are finite, and reach each parameter of each member;
    - the log-determinant equals that of the Jacobian of autograd, and the log-determinants of both
      directions cancel.

    Args:
        bijection: the bijection. It is not changed.
        dim: the number of features D, or the shape of an event.
        members: the number of members M, at least 2; by default the first axis of the parameters
            and buffers, or 3 if there are none.
        points: data ``(M, *event, N)``, for a bijection that is not defined for all real numbers;
            the inputs of ``inverse`` are then the outputs of ``forward``. By default 100 points per
            member with a standard deviation of 3, for both directions.
        perturbation: the standard deviation of the noise that is added to the parameters.
        tolerance: the largest error in double precision: absolute for values up to 1, relative
            above. In single precision, it is 0.001, or ``tolerance`` if that is larger.
        seed: the seed of the points and of the noise.

    Raises ``AssertionError`` for the first property that does not hold. The message says which one,
    in which direction, the largest error and its place, and the usual cause. Raises ``ValueError``
    for fewer than 2 members, and for ``points`` of another shape.

    Examples:
        >>> import flows
        >>> from flows.bijections import ActNorm
        >>> flows.check_bijection(ActNorm(dim=2, members=3), dim=2)
    """
    members = _count_members(bijection, members)
    event = (dim,) if isinstance(dim, int) else tuple(dim)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    made = deepcopy(bijection).double()
    x = SPREAD * normal(members, *event, POINTS) if points is None else points.double()
    if x.shape[:-1] != (members, *event):
        wanted = ", ".join(map(str, (members, *event)))
        raise ValueError(f"points: their shape is {tuple(x.shape)}; it must be ({wanted}, N)")
    made.initialize(x)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(perturbation * normal(*parameter.shape))
        z = x if points is None else made.forward(x)[0]
    checks = [
        _Check(made, direction, start, tolerance)
        for direction, start in (("forward", x), ("inverse", z))
    ]
    for run in (
        _Check.interface,
        _Check.members,
        _Check.round_trip,
        _Check.gradients,
        _Check.log_determinant,
        _Check.cancellation,
    ):
        for check in checks:
            run(check)


class _Check:
    """The checks of one direction of a bijection.

    Args:
        bijection: the bijection in double precision, with perturbed parameters.
        direction: ``"forward"`` or ``"inverse"``.
        x: the input of this direction, ``(M, *event, N)``.
        tolerance: the largest error in double precision.
    """

    def __init__(self, bijection: Bijection, direction: str, x: Tensor, tolerance: float) -> None:
        self.bijection, self.direction, self.x = bijection, direction, x
        self.name, self.other = type(bijection).__name__, OTHER[direction]
        self.shape = (len(x), x.shape[-1])  # of a log-determinant, (M, N)
        self.limits = {
            dtype: max(limit, tolerance) if dtype == torch.float32 else tolerance
            for dtype, limit in TOLERANCES.items()
        }

    def interface(self) -> None:
        """Check the types, the shapes and the finiteness of both outputs."""
        allowed: dict[str, list[tuple[int, ...]]] = {
            "value": [tuple(self.x.shape)],
            "log-determinant": [self.shape, (len(self.x), 1)],
        }
        for dtype in TOLERANCES:
            for (what, shapes), found in zip(allowed.items(), self.run(self.x, dtype), strict=True):
                if found.dtype != dtype:
                    self.fail(
                        f"the {what} of {_name(dtype)} points is {_name(found.dtype)}",
                        "a tensor has a fixed type; take the type from the input, and register "
                        "constants as buffers",
                    )
                if tuple(found.shape) not in shapes:
                    self.fail(
                        f"the shape of the {what} is {tuple(found.shape)}, not "
                        f"{' or '.join(map(str, shapes))}",
                        "a sum over the wrong axes; values are (M, *event, N), and a "
                        "log-determinant is a sum over the features",
                    )
                for index in (~found.isfinite()).nonzero()[:1]:
                    self.fail(
                        f"the {what} is {found[tuple(index)].item()} at {_place(index)} "
                        f"({_name(dtype)})",
                        "an overflow, a division by 0, or the logarithm of 0; bound the "
                        "parameters, or pass points for which the bijection is defined",
                    )

    def members(self) -> None:
        """Check that no member and no point has an effect on another one."""
        before, last = self.run(self.x), len(self.x) - 1
        x = self.x.clone()
        x[last] = (x[0] + x[last].flip(-1)) / 2
        for found, wanted in zip(self.run(x), before, strict=True):
            self.compare(
                found[:-1],
                wanted[:-1],
                f"other points of member {last} change the output of another member",
                "a sum, a mean or a reshape runs over the first axis, the members",
                limit=0,
            )
        changed, differs = deepcopy(self.bijection), False
        for tensor in changed.state_dict().values():
            if tensor.ndim:
                differs |= not torch.equal(tensor[last], tensor[0])
                tensor[last] = tensor[0]
        after = self.run(self.x, bijection=changed)
        for found, wanted in zip(after, before, strict=True):
            self.compare(
                found[:-1],
                wanted[:-1],
                f"other parameters of member {last} change the output of another member",
                "a parameter or a buffer is used without its first axis, the members",
                limit=0,
            )
        if differs and torch.equal(after[0][last], before[0][last]):
            self.fail(
                f"other parameters and buffers of member {last} do not change its output",
                "all members use the parameters of one member",
            )
        for m in range(len(self.x)):
            alone = self.run(self.x[m : m + 1], bijection=_alone(self.bijection, m), cause=AXIS)
            for found, wanted in zip(alone, before, strict=True):
                what = f"the output of member {m} differs if the member is alone"
                self.compare(found, wanted[m : m + 1], what, AXIS, first=m)
        for found, wanted in zip(self.run(self.x[..., :FEW]), before, strict=True):
            self.compare(
                found,
                wanted[..., :FEW],
                "the output of a point depends on the other points",
                "a statistic of the batch is computed here; compute it in `initialize`",
            )

    def round_trip(self) -> None:
        """Check that the other direction undoes this one."""
        for dtype, limit in self.limits.items():
            x = self.x.to(dtype)
            value, _ = self.run(x, dtype)
            back, _ = self.run(value, dtype, direction=self.other)
            cause = f"`{self.other}` inverts another map than `{self.direction}`"
            if dtype == torch.float32:
                # Where the map is nearly flat, rounding changes the input, but not the output
                again = _error(self.run(back, dtype)[0], value).flatten(1, -2).amax(1) <= limit
                back = torch.where(again.view(len(x), *[1] * (x.ndim - 2), -1), x, back)
                cause = "digits cancel, or a constant is too small for single precision"
            elif (back - x).abs().max() < SMALL:
                cause = (
                    "a step is computed in single precision (use the type of the input), or an "
                    "iteration stops early (iterate longer, or pass a larger tolerance)"
                )
            what = f"`{self.other}` of the output is not the input ({_name(dtype)})"
            self.compare(back, x, what, cause, limit=limit)

    def gradients(self) -> None:
        """Check that gradients are finite, and that they reach each parameter of each member."""
        x, made = self.x.clone().requires_grad_(), deepcopy(self.bijection)
        value, log_det = self.run(x, bijection=made, grad=True)
        loss = value.square().sum() + log_det.sum()
        if loss.requires_grad:
            loss.backward()
        parameters = {f"parameter {name}": each for name, each in made.named_parameters()}
        for name, tensor in ({"the points": x} | parameters).items():
            if not tensor.requires_grad:
                continue
            gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            totals = gradient.reshape(len(self.x) if tensor.ndim else 1, -1).abs().sum(1)
            for m, total in enumerate(totals.tolist()):
                if not math.isfinite(total):
                    self.fail(
                        f"the gradient of {name} of member {m} is not finite",
                        "a root or a norm at 0; or torch.where, which differentiates both "
                        "branches: clamp the input of the branch that is not used",
                    )
                if total == 0 and tensor is not x:
                    self.fail(
                        f"no gradient reaches {name} of member {m}",
                        "the parameter is not used in this direction, or is detached",
                    )

    def log_determinant(self) -> None:
        """Check the log-determinant against the Jacobian of autograd."""
        few = self.x[..., :FEW]
        full = jacobian(lambda value: self.run(value, grad=True)[0], few)
        sizes = (len(few), few[0, ..., 0].numel(), few.shape[-1])
        blocks = torch.einsum("manmbn->mnab", full.reshape(*sizes, *sizes))
        if not torch.allclose(full.abs().sum(), blocks.abs().sum()):
            self.fail(
                "autograd finds a derivative of a point by another point or member",
                "a sum, a mean or a reshape runs over members or points",
            )
        wanted = torch.linalg.slogdet(blocks)[1]
        if not wanted.isfinite().all():
            self.fail(
                "the Jacobian of autograd is singular",
                "the map is not invertible, or its output is detached from its input",
            )
        found = self.run(few)[1].expand_as(wanted)
        error, cause = found - wanted, "a term is missing, or belongs to other features"
        if _error(found, -wanted).max() <= self.limits[torch.float64]:
            cause = "the sign: `forward` returns log |det dz/dx|, and `inverse` log |det dx/dz|"
        elif (error - error[:, :1]).abs().max() < SMALL:
            cause = "a term that does not depend on the points is missing or wrong"
        what = "the log-determinant is not that of the Jacobian of autograd"
        self.compare(found, wanted, what, cause)

    def cancellation(self) -> None:
        """Check that the log-determinants of both directions cancel."""
        value, log_det = self.run(self.x)
        _, back = self.run(value, direction=self.other)
        self.compare(
            back.expand(self.shape),
            -log_det.expand(self.shape),
            f"the log-determinant of `{self.other}` at the output does not cancel this one",
            "one of them is computed from the output of its direction instead of the input",
        )

    def run(
        self,
        x: Tensor,
        dtype: torch.dtype = torch.float64,
        *,
        direction: str = "",
        bijection: Bijection | None = None,
        grad: bool = False,
        cause: str = "the code assumes a type, or a number of members, features or points",
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs of a direction, by default of this one."""
        made = self.bijection if bijection is None else bijection
        made = made if dtype == torch.float64 else deepcopy(made).to(dtype)
        step = getattr(made, direction or self.direction)
        with torch.set_grad_enabled(grad):
            try:
                found = step(x.to(dtype))
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                first = str(error).partition("\n")[0]
                what = (
                    f"{_name(dtype)} points {tuple(x.shape)} raise {type(error).__name__}: {first}"
                )
                self.fail(what, cause, direction, error)
        match found:
            case (Tensor() as value, Tensor() as log_det):
                return value, log_det
        what = "the result is not a pair of tensors"
        self.fail(what, "the log-determinant is not returned, or is a number", direction)

    def compare(
        self,
        found: Tensor,
        wanted: Tensor,
        what: str,
        cause: str,
        *,
        limit: float | None = None,
        first: int = 0,
    ) -> None:
        """Fail if an error is above ``limit``; ``first`` is the number of the first member."""
        if found.shape not in (wanted.shape, (*wanted.shape[:-1], 1)):
            shapes = f"{tuple(found.shape)}, not {tuple(wanted.shape)}"
            self.fail(f"{what}: the shape is {shapes}", cause)
        found = found.expand_as(wanted)
        error = _error(found, wanted)
        limit = self.limits[torch.float64] if limit is None else limit
        if error.max() > limit:
            index = (error == error.max()).nonzero()[0]
            values = [each[tuple(index)].item() for each in (found, wanted)]
            largest = f"largest error {abs(values[0] - values[1]):.2g}"
            self.fail(
                f"{what}: {largest} at {_place(index, first)} ({values[0]:.6g} instead of "
                f"{values[1]:.6g})",
                cause,
            )

    def fail(
        self, what: str, cause: str, direction: str = "", error: Exception | None = None
    ) -> NoReturn:
        where = f"{self.name}.{direction or self.direction}"
        raise AssertionError(f"{where}: {what}; usual cause: {cause}") from error


def _error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return absolute errors, or relative errors of values above 1; ``NaN`` becomes infinity."""
    error = (found - wanted).abs() / wanted.abs().clamp(min=1)
    return error.nan_to_num(nan=torch.inf, posinf=torch.inf)


def _place(index: Tensor, first: int = 0) -> str:
    """Return the place with the ``index`` of a value or of a log-determinant in words."""
    member, *feature, point = index.tolist()
    words = [f"feature {', '.join(map(str, feature))}"] if feature else []
    return ", ".join([f"member {first + member}", *words, f"point {point}"])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _alone(bijection: Bijection, m: int) -> Bijection:
    """Return a copy of the bijection with the parameters and buffers of member ``m`` alone."""
    alone = deepcopy(bijection)
    for module in alone.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.ndim:
                own = parameter.detach()[m : m + 1].clone()
                module._parameters[name] = nn.Parameter(own, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.ndim:
                module._buffers[name] = buffer[m : m + 1].clone()
    return alone


def _count_members(bijection: Bijection, members: int | None) -> int:
    """Return the number of members. Raises ``AssertionError`` if the state contradicts it."""
    state = {name: each for name, each in bijection.state_dict().items() if each.ndim}
    if members is None:
        members = next((len(each) for each in state.values()), MEMBERS)
    for name, tensor in state.items():
        if len(tensor) != members:
            raise AssertionError(
                f"{type(bijection).__name__}: the shape of {name} is {tuple(tensor.shape)}; its "
                f"first axis must be {members}, the number of members; usual cause: {AXIS}"
            )
    if members < 2:
        raise ValueError(
            f"members = {members}: must be at least 2, because the check compares members"
        )
    return members
