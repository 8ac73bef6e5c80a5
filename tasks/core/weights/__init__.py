"""Weights as tensors in a verified local file: their sources, downloads, safe reading, strict loading.

Random weights belong to `model`: they need the module itself.
"""
