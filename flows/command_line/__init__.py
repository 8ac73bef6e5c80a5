"""What a user types and sees: options, the line of each step, summaries, the exit status."""
