"""Compare a file's answers with the module's, and judge: plan (in), observations (run), evidence (judged)."""
