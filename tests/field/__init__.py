"""What practice breaks, kind by kind: wrong files that must not pass, and true files that must."""
