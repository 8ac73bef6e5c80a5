"""The flows and their command lines."""
