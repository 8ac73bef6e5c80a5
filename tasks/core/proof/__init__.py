"""Compare a file's answers with the module's, and judge: plan (in), observations (run), evidence (judged).

Running files belongs to `runtime`, the module's answers to `reference`, the search for the wrong node to
`localisation`.
"""
