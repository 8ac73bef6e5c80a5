"""Families of models: one file a family says all that Assay knows of it, `registry.py` lists them. Needs no PyTorch.

What holds for every model belongs elsewhere: what is asked for to `spec`, downloads to `weights`, building to `model`.
"""
