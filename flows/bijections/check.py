"""A check of the properties that every bijection must have."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.arrays import Shape

POINTS = 100  # per member
SPREAD = 3.0  # of the points, so that some of them are beyond the bounds of splines
MEMBERS = 3  # of a bijection without parameters and buffers
DOUBLE, SINGLE = 1e-9, 1e-3  # largest errors in double and in single precision
OTHER = {"forward": "inverse", "inverse": "forward"}


def check_bijection(
    bijection: Bijection,
    dim: int | Shape,
    members: int | None = None,
    *,
    points: Tensor | None = None,
    perturbation: float = 0.3,
    tolerance: float = DOUBLE,
    seed: int = 0,
) -> None:
    """Check that a bijection does what ``Bijection`` requires; return nothing if it does.

    The check initializes a copy of the bijection with Gaussian points, and adds Gaussian noise to
    all parameters, because many bijections start as the identity, for which wrong code is right.
    Then it checks, in this order and in both directions:

    - a member alone, with half of the points, gives the same output as in the population with all
      points;
    - each direction undoes the other, in double and in single precision;
    - gradients are finite, and reach the points and each parameter of each member;
    - the log-determinant equals that of the Jacobian of autograd.

    Each time, outputs must be finite, and have the shapes and the types of the interface.

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
    in which direction, the place of the largest error, and its absolute value. Raises
    ``ValueError`` for fewer than 2 members, and for ``points`` of another shape.

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
        z = x if points is None else _run(made, "forward", x)[0]
        for check in (_check_independence, _check_round_trip, _check_derivatives):
            for direction, start in (("forward", x), ("inverse", z)):
                check(made, direction, start, tolerance)


def _check_independence(bijection: Bijection, direction: str, x: Tensor, tolerance: float) -> None:
    """Check that the output of a point depends on no other member and on no other point."""
    together, half = _run(bijection, direction, x), (x.shape[-1] + 1) // 2
    alone = [_run(_alone(bijection, m), direction, x[m : m + 1, ..., :half]) for m in range(len(x))]
    what = f"{type(bijection).__name__}.{direction}: the output depends on other members or points"
    for found, wanted in zip(together, map(torch.cat, zip(*alone, strict=True)), strict=True):
        _compare(what, found[..., :half], wanted, tolerance)


def _check_round_trip(bijection: Bijection, direction: str, x: Tensor, tolerance: float) -> None:
    """Check that the other direction undoes this one."""
    other = OTHER[direction]
    for dtype, limit in (torch.float64, tolerance), (torch.float32, max(SINGLE, tolerance)):
        made, start = deepcopy(bijection).to(dtype), x.to(dtype)
        value, _ = _run(made, direction, start)
        back, _ = _run(made, other, value)
        if dtype == torch.float32:
            # Where the map is nearly flat, rounding changes the input, but not the output
            error = _error(_run(made, direction, back)[0], value)
            is_flat = error.amax(tuple(range(1, x.ndim - 1)), keepdim=True) <= limit
            back = torch.where(is_flat, start, back)
        what = f"`{other}` of the output is not the input ({_name(dtype)})"
        _compare(f"{type(made).__name__}.{direction}: {what}", back, start, limit)


def _check_derivatives(bijection: Bijection, direction: str, x: Tensor, tolerance: float) -> None:
    """Check the gradients, and the log-determinant against the Jacobian of autograd."""
    made, x = deepcopy(bijection), x.clone().requires_grad_()
    where = f"{type(made).__name__}.{direction}"
    with torch.enable_grad():
        value, log_det = _run(made, direction, x)
        value = value + 0 * x  # autograd also differentiates a value that the code detaches
        (value.square().sum() + log_det.sum()).backward(retain_graph=True)
        # No point depends on another one, so the gradient of a sum has a row of each Jacobian
        features = value.flatten(1, -2).unbind(1)
        rows = [torch.autograd.grad(each.sum(), x, retain_graph=True)[0] for each in features]
    for name, tensor in (("the points", x), *made.named_parameters()):
        if not tensor.requires_grad:
            continue
        gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        totals = gradient.reshape(len(x) if tensor.ndim else 1, -1).abs().sum(1)
        for m, total in enumerate(totals.tolist()):
            if total == 0 or not math.isfinite(total):
                raise AssertionError(f"{where}: the gradient of {name} of member {m} is {total:g}")
    jacobians = torch.stack([row.flatten(1, -2) for row in rows], -1).transpose(1, 2)
    what = f"{where}: the log-determinant is not that of the Jacobian of autograd"
    _compare(what, log_det, torch.linalg.slogdet(jacobians)[1], tolerance)


def _run(bijection: Bijection, direction: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value and the log-determinant ``(M, N)``, with the types and shapes checked."""
    where = f"{type(bijection).__name__}.{direction} of {_name(x.dtype)} points {tuple(x.shape)}"
    try:
        found = getattr(bijection, direction)(x)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        first = str(error).partition("\n")[0]
        raise AssertionError(f"{where} raises {type(error).__name__}: {first}") from error
    match found:
        case (Tensor() as value, Tensor() as log_det):
            pass
        case _:
            raise AssertionError(f"{where}: the result is not a pair of tensors")
    shape = (len(x), x.shape[-1])
    allowed = ("value", value, [x.shape]), ("log-determinant", log_det, [shape, (len(x), 1)])
    for what, tensor, shapes in allowed:
        if tensor.dtype != x.dtype or tensor.shape not in shapes:
            kind = f"{_name(tensor.dtype)} of shape {tuple(tensor.shape)}"
            wanted = " or ".join(str(tuple(each)) for each in shapes)
            wanted = f"{_name(x.dtype)} of shape {wanted}"
            raise AssertionError(f"{where}: the {what} is {kind}, not {wanted}")
        for index in (~tensor.isfinite()).nonzero()[:1]:
            number = tensor[tuple(index)].item()
            raise AssertionError(f"{where}: the {what} is {number} at {_place(index)}")
    return value, log_det.expand(shape)


def _compare(what: str, found: Tensor, wanted: Tensor, limit: float) -> None:
    """Raise ``AssertionError`` with the largest error if this error is above ``limit``."""
    error = _error(found, wanted)
    if error.max() > limit:
        index = (error == error.max()).nonzero()[0]
        values = [each[tuple(index)].item() for each in (found, wanted)]
        raise AssertionError(
            f"{what}: largest error {abs(values[0] - values[1]):.2g} at {_place(index)} "
            f"({values[0]:.6g} instead of {values[1]:.6g})"
        )


def _error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return absolute errors, or relative errors of values above 1; ``NaN`` becomes infinity."""
    error = (found - wanted).abs() / wanted.abs().clamp(min=1)
    return error.nan_to_num(nan=torch.inf, posinf=torch.inf)


def _place(index: Tensor) -> str:
    """Return the place of a value or of a log-determinant in words."""
    member, *feature, point = index.tolist()
    words = [f"feature {', '.join(map(str, feature))}"] if feature else []
    return ", ".join([f"member {member}", *words, f"point {point}"])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _alone(bijection: Bijection, m: int) -> Bijection:
    """Return a copy of the bijection with the parameters and buffers of member ``m`` alone."""
    alone = deepcopy(bijection)
    for tensor in (*alone.parameters(), *alone.buffers()):
        if tensor.ndim:
            tensor.data = tensor.data[m : m + 1]
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
                f"first axis must be {members}, the number of members"
            )
    if members < 2:
        raise ValueError(
            f"members = {members}: must be at least 2, because the check compares members"
        )
    return members
