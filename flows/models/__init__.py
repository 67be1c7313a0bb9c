"""The models, one a file; ``docs/extending.md`` says how to add one."""
