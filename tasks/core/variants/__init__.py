"""Smaller or faster files made of a proven one, and what each loses: half precision, int8, a simplified graph.

What proves that a file computes what its module computes is in `proof`; what MLflow holds of variants, in the store.
Nothing of this is imported by an export without variants.
"""
