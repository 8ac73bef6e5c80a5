"""PyTorch's exporters, tried in turn until one gives a file that is right at other sizes, too.

What a graph looks like as a file belongs to `onnx_files`; the proof of it, to `proof`.
"""
