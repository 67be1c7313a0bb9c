"""Densities of tables: on arrays, on data frames, for scikit-learn, and how they are fitted."""
