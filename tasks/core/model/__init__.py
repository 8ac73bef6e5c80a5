"""The module: built, given its weights, and with random weights brought alive.

Calling it belongs to `forward`, its inputs to `inputs`, its answers to `reference`.
"""
