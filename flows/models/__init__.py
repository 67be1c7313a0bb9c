"""One model a file, or a folder where it has a network of its own.

``docs/extending.md`` says how to add one.
"""
