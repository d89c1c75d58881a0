"""What was measured, as lines of the log."""

from collections.abc import Iterator, Sequence

from fuxi_mtl.training.diagnostics.conflict import GradientConflict
from fuxi_mtl.training.diagnostics.gates import GateHealth


def conflict_lines(found: GradientConflict, parts: Sequence[str]) -> Iterator[str]:
    """A line for each pair of objectives and part of the shared parameters."""
    for (first, second), summaries in found.summaries().items():
        for part in parts:
            numbers = summaries[part]
            if numbers["measured"]:
                yield (
                    f"Gradients of {first} and {second} ({part}): cosine {numbers['cosine']:.3f} "
                    f"[p10 {numbers['p10']:.3f}, p90 {numbers['p90']:.3f}] - "
                    f"conflict rate {numbers['conflict_rate']:.1%} - "
                    f"norm ratio {numbers['norm_ratio']:.3g} - "
                    f"{numbers['measured']} batches, {numbers['skipped']} skipped"
                )
        skipped = summaries["all"]["skipped"]
        if skipped and not summaries["all"]["measured"]:
            yield f"Gradients of {first} and {second}: nothing to compare in {skipped} batches"


def gate_lines(found: GateHealth) -> Iterator[str]:
    """A line for each gate, and for each group how far its gates differ and which experts are dead."""
    for group in found.content()["groups"]:
        name = group["name"]
        for gate in group["gates"]:
            weights = zip(gate["experts"], gate["weight"][-1], strict=True)
            shown = ", ".join(f"{expert} {weight:.2f}" for expert, weight in weights)
            yield f"Gate {gate['name']} ({name}): entropy {gate['entropy'][-1]:.3f} - {shown}"
        pairs = [f"{' · '.join(pair['gates'])} {pair['js'][-1]:.4f}" for pair in group["divergence"]]
        if pairs:
            yield f"Divergence of gates ({name}): {', '.join(pairs)}"
        if group["dead"]:
            yield f"Dead experts ({name}): {', '.join(group['dead'])}"
