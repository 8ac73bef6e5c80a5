"""Hold a file's answers against the module's, and judge.

Running files belongs to `runtime`, the module's answers to `reference`, the search for the wrong node to
`localisation`.
"""
