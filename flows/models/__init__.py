"""The architectures, one per file; ``docs/extending.md`` says how to add one."""
