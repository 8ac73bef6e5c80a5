"""ONNX Runtime in a process of its own, processes that end with their owner, and memory.

What is asked of a file, and what its answers mean, belongs to `proof`.
"""
