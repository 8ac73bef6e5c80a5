"""How long timing may take."""

SECONDS = 2.0
"""For both, opening the file included; a single run of the module may take longer."""
