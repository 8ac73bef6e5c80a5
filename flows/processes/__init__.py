"""Processes that flows need beside their own: warm ones that export, workers of sweeps, Prefect's temporary server."""
