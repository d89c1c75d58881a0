"""The bottoms under the towers of a model, by the name of their type."""

from fuxi_mtl.options.family import Family

BOTTOMS = Family(
    "bottom",
    "bottom",
    {
        "shared_embedding": "fuxi_mtl.layers.bottoms:SharedEmbedding",
        "ShareBottom": "fuxi_mtl.layers.bottoms:SharedBottom",
        "MMoE": "fuxi_mtl.layers.bottoms:GatedExperts",
        "PLE": "fuxi_mtl.layers.bottoms:ExtractionLevels",
    },
    given=("names", "mlp"),
    in_block=True,
)
