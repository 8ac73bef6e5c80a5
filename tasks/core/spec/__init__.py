"""What is asked for, and what fills it in: the spec, the catalog. Needs no PyTorch."""
