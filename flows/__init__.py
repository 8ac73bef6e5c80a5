"""The flows and their command lines."""

import os

# before Prefect is imported: it and its server would send usage data, which only delays and
# fails behind firewalls, and say so on the terminal
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
# a flow that is called from Python starts a server, which on a busy machine takes longer than Prefect's 20 s
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
    # no proxy knows the services on this machine's loopback; httpx, requests and children read both spellings
    _listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    _hosts = [host for host in _listed.split(",") if host]
    _hosts += [host for host in ("localhost", "127.0.0.1", "::1") if host not in _hosts and _listed != "*"]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(_hosts)
