"""PyTorch's exporters, tried in turn until one gives a file that is right at other sizes, too."""
