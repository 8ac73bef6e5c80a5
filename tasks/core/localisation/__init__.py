"""Which node of a wrong file is wrong by itself, and a small reproduction of it."""
