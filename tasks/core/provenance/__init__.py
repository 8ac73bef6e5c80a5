"""What an export was made from, so that a change can be seen and named, and the record of one attempt.

Where it is stored belongs to `tasks/mlflow_store`.
"""
