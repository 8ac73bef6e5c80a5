"""How long timing may take, and how busy the machine may be."""

SECONDS = 2.0
"""For both, opening the file included; a single run of the module may take longer."""
MAX_WAITING = 0.2
"""Share of the time of PyTorch's runs that its threads may have waited for a processor: beyond it, what is measured is
who else uses the machine. On two cores with nine busy processes a run of 0.23 ms took 250."""
