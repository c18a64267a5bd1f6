"""A simulated home in network namespaces: built, broken and healed with context managers. Needs root."""
