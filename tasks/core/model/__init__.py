"""The module: built, given its weights; random weights are made to exercise every block.

Calling it belongs to `forward`, its inputs to `inputs`, its answers to `reference`.
"""
