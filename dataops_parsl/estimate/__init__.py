"""What a run would cost, before it starts: from what parts and runs cost that are there, else from a table.

Work is counted in megapixel-frames (Mpx·frames): frames of a part times their size. What was measured says
how high the costs are, the shipped table (``costs.toml``) how they grow from one size to another.
"""
