"""The unknown values of rows given the known values: a region in, a posterior per row out.

Start with ``region.py`` and ``posterior.py``. ``joint.py`` has the posteriors of a joint density,
and ``target.py`` those of a density with a target.
"""
