# %% [markdown]
# # Flows in the plane
#
# Three flows learn a density of which we know the truth, and one flow is broken on purpose.
# [Flows from zero](../flows-from-zero.md) has the formulas.

# %%
import matplotlib.pyplot as plt
import numpy as np

import flows
from flows import truths

truth, rng = truths.make("ring"), np.random.default_rng(0)
train, test = truth.sample(800, rng), truth.sample(2000, rng)
models = {
    "RealNVP": flows.RealNVP(couplings=6),
    "Glow": flows.Glow(couplings=6),
    "NSF": flows.NSF(couplings=4),
}
COLORS = {"RealNVP": "#0072B2", "Glow": "#E69F00", "NSF": "#009E73"}

# %% [markdown]
# ## Watch them learn
#
# Each model is five networks with different seeds, which learn at the same time. A curve is the
# mean negative log-likelihood of the 2,000 test points; the dashed line is that of the truth. The
# pipeline runs 1,000 epochs; after 300, the order of RealNVP and Glow says little.

# %%
settings = flows.TrainingSettings(epochs=300, log_every=10)
fits = {}
for name, model in models.items():
    fits[name] = flows.train(flows.build(model, (2,), members=5), train, test, settings)

# %%
_, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, fit in fits.items():
    nll = fit.history["test_nll"].mean(axis=1)
    axis.plot(fit.history["epoch"], nll, color=COLORS[name], label=name)
axis.axhline(-truth.log_prob(test).mean(), color="black", linestyle="--", label="truth")
axis.set(xlabel="epoch", ylabel="test NLL (nat)", ylim=(3.5, 4.6))
axis.legend()

# %% [markdown]
# ## Compare with the truth
#
# The KL divergence is the mean of log p(x) - log q(x) over points of the truth; 0 is perfect.
# The number after ± is the standard deviation over the five networks.


# %%
def kl(fit):
    """Return the KL divergence of each network from the truth, in nat."""
    return (truth.log_prob(test)[:, None] - fit.log_prob(test).numpy()).mean(axis=0)


for name, fit in fits.items():
    print(f"{name:8} KL {kl(fit).mean():.3f} ± {kl(fit).std():.3f} nat")

# %% [markdown]
# Where is the probability between the modes? Here is the density of one network of each model.

# %%
grid = np.linspace(-1.1, 1.1, 160) * np.abs(train).max()
x, y = np.meshgrid(grid, grid)
points = np.column_stack([x.ravel(), y.ravel()])


def draw(fits):
    """Draw the density of the first network of each fit."""
    _, axes = plt.subplots(1, len(fits), figsize=(3 * len(fits), 3.2), layout="constrained")
    for axis, (name, fit) in zip(axes, fits.items(), strict=True):
        axis.pcolormesh(x, y, np.exp(fit.log_prob(points)[:, 0].numpy()).reshape(x.shape))
        axis.set(title=name, aspect="equal")


draw(fits)

# %% [markdown]
# ## Break one on purpose
#
# By default, training moves each point by noise, whose width it estimates. Without noise, the NSF
# remembers the 800 points: the NLL of these points falls below that of the truth, and the NLL of
# new points rises. The reason is in
# [flows from zero](../flows-from-zero.md#sharpened-noise-against-overfitting).

# %%
without = flows.TrainingSettings(epochs=300, log_every=10, noise=0)
broken = flows.train(flows.build(models["NSF"], (2,), members=5), train, test, without)
print(f"KL {kl(broken).mean():.3f} nat without noise, {kl(fits['NSF']).mean():.3f} nat with noise")

# %%
_, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for key, line in (("train_nll", "--"), ("test_nll", "-")):
    for name, fit in (("no noise", broken), ("noise", fits["NSF"])):
        color = {"no noise": "#D55E00", "noise": COLORS["NSF"]}[name]
        label = f"{name}, {key.split('_')[0]} points"
        axis.plot(
            fit.history["epoch"], fit.history[key].mean(axis=1), line, color=color, label=label
        )
for rows, line, name in ((train, "--", "train"), (test, "-", "test")):
    nll = -truth.log_prob(rows).mean()
    axis.axhline(nll, color="black", linestyle=line, linewidth=0.8, label=f"truth, {name} points")
axis.set(xlabel="epoch", ylabel="NLL (nat)", ylim=(3.4, 3.9))
axis.legend(loc="upper right")

# %%
draw({"with noise": fits["NSF"], "without noise": broken})
