"""Activation normalisation: a learned affine map that starts as a standardisation."""

import numpy as np
import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection, pixels


class ActNorm(Bijection):
    """A learned affine map of every feature, with a shift ``b`` and a log-scale ``s``::

        forward:  z = (x - b) exp(-s)       log_det = -sum_d s_d
        inverse:  x = b + z exp(s)          log_det = +sum_d s_d

    ``initialize`` sets ``b`` and ``exp(s)`` to the mean and the standard deviation of the layer's
    input, for each member separately, so that the output is standardised. Until then the map is the
    identity. The call is explicit: a layer that initialised itself at its first use would take its
    statistics from noise if ``sample`` were called first. For images ``(M, C, H, W, N)`` the
    features are the C channels, and ``log_det`` is H W times the sum above. ``initialize`` raises
    ``ValueError`` if a feature does not vary. Source: Kingma and Dhariwal 2018 (Glow), section 3.1.

    Args:
        dim: the number of features D, or of channels C.
        members: the number of members M.

    Examples:
        >>> import torch
        >>> from flows.bijections import ActNorm
        >>> layer, x = ActNorm(dim=2, members=1), torch.arange(6.0).view(1, 2, 3)
        >>> layer.initialize(x)
        >>> z, log_det = layer(x)
        >>> round(z.std(correction=0).item(), 3), torch.allclose(layer.inverse(z)[0], x, atol=1e-6)
        (1.0, True)
    """

    initialized: Tensor  # not read by code; a tensor in every saved file

    def __init__(self, dim: int, members: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(members, dim, 1))
        self.log_scale = nn.Parameter(torch.zeros(members, dim, 1))
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        rows = x.flatten(2).double().cpu().numpy()  # NumPy adds up in the same order everywhere
        with np.errstate(invalid="ignore"):
            mean = torch.from_numpy(rows.mean(axis=2, keepdims=True))
            deviation = torch.from_numpy(rows.std(axis=2, keepdims=True))
        good = (deviation > 0) & deviation.isfinite()
        if not bool(good.all()):
            member, feature, _ = (~good).nonzero()[0].tolist()
            raise ValueError(
                f"ActNorm: feature {feature} of member {member} has standard deviation "
                f"{deviation[member, feature].item()}; it must be finite and above 0"
            )
        self.shift.copy_(mean)
        self.log_scale.copy_(deviation.log())
        self.initialized.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x.flatten(2) - self.shift) * torch.exp(-self.log_scale)
        return z.view_as(x), -self._log_scales(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = self.shift + z.flatten(2) * torch.exp(self.log_scale)
        return x.view_as(z), self._log_scales(z)

    def _log_scales(self, x: Tensor) -> Tensor:
        return self.log_scale.sum(1) * pixels(x)
