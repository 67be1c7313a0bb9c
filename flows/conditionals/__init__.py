"""The rest of a row, given some of it: densities over unknown columns, and draws of them.

Start reading at ``unknowns.py``; ``labels.py`` computes the probability of a label.
"""
