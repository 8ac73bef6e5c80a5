"""One call of a module: its arguments, its outputs, its precision, the operators that it ran.

Which inputs it is called with belongs to `inputs`; answers that are kept, to `reference`.
"""
