"""What the steps do, without Prefect and without MLflow."""
