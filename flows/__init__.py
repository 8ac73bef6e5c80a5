"""The flows and their command lines."""

import os

# before Prefect is imported: it and its server would send usage data, which only delays and
# fails behind firewalls, and say so on the terminal
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
