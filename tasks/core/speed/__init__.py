"""How long a run takes, by ONNX Runtime and by PyTorch in turn; nothing is judged by it."""
