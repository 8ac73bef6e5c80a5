"""The six steps of an export, one Prefect task a file."""
