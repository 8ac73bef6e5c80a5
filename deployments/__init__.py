"""What is exported, when and where."""
