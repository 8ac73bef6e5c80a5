"""What is asked for, and what fills it in: the spec, the catalog. Needs no PyTorch.

What a family of models knows of its own belongs to `families`; finding and building things, to `weights` and `model`.
"""
