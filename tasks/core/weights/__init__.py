"""Weights as tensors in a verified local file: found, downloaded, read safely, loaded strictly.

Random weights belong to `model`: they need the module itself.
"""
