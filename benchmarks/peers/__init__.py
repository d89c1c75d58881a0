"""One contestant a file, each run in the environment of its library; see `protocol`."""
