"""Secrets: what is found, what is not, and that nothing of it goes anywhere."""
