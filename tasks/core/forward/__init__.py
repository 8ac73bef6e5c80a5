"""One call of a module: its arguments, its outputs, its precision, the operators that it ran."""
