"""The module: built, given its weights; random weights are made to exercise every block."""
