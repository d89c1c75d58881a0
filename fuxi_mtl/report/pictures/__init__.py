"""Pictures of runs as data, which a page draws as SVG and a notebook on matplotlib's axes."""
