"""Weight accounting: which weights of the module a file holds, as they are, rearranged, narrowed or folded.

Here belongs what holds constants of a file against weights of the module. What a file computes does not (`proof`), nor
where it goes wrong (`localisation`).
"""
