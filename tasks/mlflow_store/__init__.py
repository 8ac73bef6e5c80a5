"""All that talks to MLflow: the store, the runs of attempts, the flavor of a file, releases, sweeps.

What is written there is decided by the records of `tasks/core`; when, by the tasks beside this folder. Whatever
can't reach the server or its artifacts raises a ServiceError.
"""
