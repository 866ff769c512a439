"""A run in the formats of other programs: one module a format, over `target` and what a run holds."""
