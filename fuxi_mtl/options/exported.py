"""What an exported model may be: its format, what it takes, and how its tables are stored."""

RAW, FROM_IDS = SIGNATURES = ("raw", "from_ids")
# The signatures of each format, the one that is meant unless another is said first.
FORMATS = {"savedmodel": SIGNATURES, "onnx": SIGNATURES, "litert": (FROM_IDS,)}
STORED = ("float32", "float16", "bfloat16")  # types of the rows of tables
PADDED, TEXT = BAGS = ("padded", "text")
