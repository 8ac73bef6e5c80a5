"""How long timing may take, and how busy the machine may be."""

SECONDS = 2.0
"""For both, opening the file included; a single run of the module may take longer."""
MAX_TAKEN = 0.2
"""Share of the processors it needs that other processes may have meanwhile: beyond it, what is measured is them. On two
cores with nine busy processes a run of 0.23 ms took 250."""
