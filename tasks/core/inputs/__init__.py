"""The inputs of a model: names, dtypes, sizes, probes, samples; and which input of a file is which."""
