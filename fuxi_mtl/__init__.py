"""Multi-task recommender models on Keras 3: feature -> head -> objective -> weight -> step.

Importing this package imports nothing heavy; TensorFlow loads with the module that uses it.
"""

__version__ = "0.1.0"
