"""Frozen records that pass between steps: paths, hashes, figures. No behaviour.

What computes a record's values belongs to the room that computes them; what shows them, to `reports`.
"""
