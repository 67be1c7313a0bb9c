"""How much is measured: the numbers of every section, in full and for a smoke run."""

from __future__ import annotations

from dataclasses import dataclass

DATA_SEED = 100  # data seeds below are for the main pipeline's reports only
NOISE_FACTOR = 1.5  # of the main pipeline's recipe
NEVER_ENDS = 1_000_000  # epochs of a schedule that a timing does not get to the end of


@dataclass(frozen=True)
class Plan:
    """Sizes are given as ``(couplings, hidden)``; ``reading`` is how long one timing should last, in seconds.

    The libraries on PyTorch train their networks one after another, so their time is proportional to the number of networks:
    for the time to quality they train ``eager_networks``, and their seconds are multiplied by ``networks / eager_networks``.
    """

    repeats: int = 5
    reading: float = 0.3
    threads: tuple[int, ...] = (1, 2)  # of ``epoch`` and ``floor``; other sections use the last
    epoch_networks: tuple[int, ...] = (1, 10)
    epoch_hidden: tuple[int, ...] = (32, 64)
    epoch_couplings: int = 8
    batches: tuple[int, ...] = (128, 800)
    rows: int = 800

    quality_kl: float = 0.15
    quality_size: tuple[int, int] = (16, 32)
    spline_size: tuple[int, int] = (4, 32)
    spline_bins: int = 8
    quality_seeds: tuple[int, ...] = (100, 101, 102)
    quality_lengths: tuple[int, ...] = (60, 100, 160, 200, 250, 400)
    networks: int = 10
    eager_networks: int = 3
    fresh: int = 20_000
    own_epochs: int = 1_000
    own_every: int = 20
    own_patience: int = 120  # epochs without a better score after which the usual recipe only overfits

    depths: tuple[int, ...] = (2, 4, 8, 16, 24)

    throughput_points: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    throughput_limit: float = 20.0  # a reading that would take longer is skipped, seconds
    throughput_size: tuple[int, int] = (8, 64)
    throughput_repeats: int = 3

    growth_rows: tuple[int, ...] = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    growth_dimensions: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    growth_couplings: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    growth_members: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    growth_dimension_rows: int = 10_000


FULL = Plan()
SMALL = Plan(
    repeats=2,
    reading=0.02,
    threads=(1,),
    epoch_networks=(2,),
    epoch_hidden=(8,),
    epoch_couplings=2,
    batches=(800,),
    quality_size=(2, 8),
    spline_size=(2, 8),
    quality_seeds=(100,),
    quality_lengths=(1, 2),
    networks=2,
    eager_networks=1,
    fresh=500,
    own_epochs=4,
    own_every=2,
    depths=(2, 4),
    throughput_points=(100, 1_000),
    throughput_size=(2, 8),
    throughput_repeats=1,
    growth_rows=(1_000, 2_000),
    growth_dimensions=(2, 4),
    growth_couplings=(2, 4),
    growth_members=(1, 2),
    growth_dimension_rows=500,
)
