"""The small trained model that ships with Assay."""
