"""What the steps do, a room for each kind of thing. Neither Prefect nor MLflow is imported here."""
