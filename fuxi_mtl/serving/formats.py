"""The formats in which a model can be exported, and what each of them can hold."""

import functools
from collections.abc import Callable

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.exported import BAGS, FORMATS, FROM_IDS, PADDED, RAW, SIGNATURES, STORED, TEXT
from fuxi_mtl.serving.export import Form, export_model


def exporter(
    format: str,  # noqa: A002 - as on the command line
    signature: str = "",
    export_dtype: str = STORED[0],
    bags: str = PADDED,
) -> Callable[..., None]:
    """What writes a model in a format: see :func:`fuxi_mtl.serving.export.export_model`.

    Args:
        format: One of :data:`fuxi_mtl.options.exported.FORMATS`.
        signature: One that the format has; its first unless said.
        export_dtype: Type of the rows of tables.
        bags: How bags come into an ONNX file.

    Raises:
        ValueError: A choice is unknown, does not go with another, or needs a package.
    """
    _check("format", format, FORMATS)
    signature = signature or FORMATS[format][0]
    _check("signature", signature, SIGNATURES)
    _check("export_dtype", export_dtype, STORED)
    _check("bags", bags, BAGS)
    if signature not in FORMATS[format]:
        raise ValueError(f"signature: {signature} is none of format: {format}, which takes ids: {FROM_IDS}.")
    if bags == TEXT and (format != "onnx" or signature != RAW):
        raise ValueError(
            "bags: text is a choice of format: onnx with raw columns. A SavedModel has both signatures."
        )
    if format == "litert" and export_dtype != STORED[0]:
        raise ValueError(
            f"export_dtype: {export_dtype} is none of format: litert, which looks up in float32."
        )
    return functools.partial(_function(format), form=Form(signature, export_dtype, bags))


def _check(key: str, value: str, choices) -> None:
    if value not in choices:
        known = ", ".join(choices)
        raise ValueError(f"{key}: {value!r} is none.{did_you_mean(value, choices)} It can be: {known}.")


def _function(form: str) -> Callable[..., None]:
    if form == "savedmodel":
        return export_model
    if form == "litert":
        from fuxi_mtl.serving.litert_export import export_litert

        return export_litert
    try:
        from fuxi_mtl.serving.onnx_export import export_onnx  # an extra
    except ModuleNotFoundError as error:
        raise ValueError(
            f"format: onnx needs the package {error.name}: pip install 'fuxi-mtl[onnx]'."
        ) from error
    return export_onnx
