"""Search for the keys of a stanza that do best on validation rows: space, trials, winner and report."""
