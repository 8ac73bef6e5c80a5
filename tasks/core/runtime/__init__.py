"""ONNX Runtime in a process of its own, processes that end with their owner, and memory."""
