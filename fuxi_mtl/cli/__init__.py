"""The command line: commands, listings, a quiet start."""
