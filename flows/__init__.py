"""The flows and their command lines."""

import os

# before Prefect is imported: its server would send usage data, which only delays and fails behind firewalls
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
