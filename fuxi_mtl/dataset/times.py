"""The order of times: numbers, dates, and texts in ISO 8601."""

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError

_ISO = (
    r"^(?<y>\d{4})-(?<m>\d{2})-(?<d>\d{2})"
    r"(?:[T ](?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,](?<fraction>\d{1,9}))?)?"
    r"\s?(?<zone>Z|[+-]\d{2}:?\d{2})?)?$"
)
# Where Unix times of 1973 to 2286 begin and end, in seconds, milliseconds, microseconds and nanoseconds.
_UNITS = (1e8, 1e10, 1e11, 1e13, 1e14, 1e16, 1e17, 1e19)
WANTED = "a time: a number, a date, or text in ISO 8601, such as 2020-01-31 or 2020-01-31T09:30:00+01:00"


def ranks(times: pl.Series) -> np.ndarray:
    """The rank of each time, ``(rows,)``, earliest first; equal times share one.

    Raises:
        BadEntryError: A time is missing, infinite, or text that is neither a number nor ISO 8601; or some
            have a zone and others none.
    """
    given, missing = times, raw.is_missing(times)
    if missing.any():
        index = int(np.argmax(missing))
        raise BadEntryError(times.name, index, times[index], f"{WANTED}; it is missing")
    if times.dtype == pl.String:
        times = _parsed(times)
    elif times.dtype.is_nested():
        raise raw.no_entry(times, "a time")
    elif not (times.dtype.is_numeric() or times.dtype in (pl.Date, pl.Datetime)):
        raise BadEntryError(times.name, 0, times[0], WANTED)
    elif times.dtype.is_float() and not times.is_finite().all():
        index = int((~times.is_finite()).arg_true()[0])
        raise BadEntryError(times.name, index, times[index], WANTED)
    if given.dtype.is_numeric() or (given.dtype == pl.String and not given.str.contains("-").any()):
        _check_unit(given, times.to_numpy())
    return times.rank("dense").to_numpy()


def _check_unit(given: pl.Series, numbers: np.ndarray) -> None:
    """Unix times are all seconds, or all thousandths, millionths or billionths of one.

    Raises:
        BadEntryError: Some are of another unit than the first.
    """
    units = np.searchsorted(_UNITS, numbers.astype(np.float64), side="right")
    of_unix = units % 2 == 1
    found = units[of_unix]
    if len(found) and (found != found[0]).any():
        index = int(np.flatnonzero(of_unix & (units != found[0]))[0])
        first = given[int(np.argmax(of_unix))]
        raise BadEntryError(
            given.name, index, given[index], f"a time in the unit of {first!r}, which comes before"
        )


def _parsed(texts: pl.Series) -> pl.Series:
    """Texts as numbers if all of them are, else as microseconds."""
    texts = texts.str.strip_chars()
    found = texts.cast(pl.Float64, strict=False)
    if found.null_count() == 0 and found.is_finite().all():
        exact = texts.cast(pl.Int64, strict=False)
        return exact if exact.null_count() == 0 else found
    none = ~found.is_finite().fill_null(False)
    if none.mean() < 0.5:  # numbers, and something between them
        index = int(none.arg_true()[0])
        raise BadEntryError(texts.name, index, texts[index], WANTED)
    parts = texts.str.extract_groups(_ISO).struct.unnest()
    numbers = parts.select(pl.col("y", "m", "d", "hour", "minute", "second").cast(pl.Int64, strict=False))
    fraction = parts["fraction"].str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64, strict=False)
    filled = numbers.with_columns(
        pl.col("hour", "minute", "second").fill_null(0), fraction.fill_null(0).alias("us")
    )
    good = (
        filled["y"].is_not_null() & filled["hour"].le(24) & filled["minute"].le(59) & filled["second"].le(60)
    )
    # polars makes no date of the 31st of February: null.
    dates = (
        (filled["y"] * 10000 + filled["m"] * 100 + filled["d"])
        .cast(pl.String)
        .str.to_date("%Y%m%d", strict=False)
    )
    good &= dates.is_not_null()
    if not good.all():
        index = int((~good).arg_true()[0])
        raise BadEntryError(texts.name, index, texts[index], WANTED)
    zoned = parts["zone"].is_not_null()
    if zoned.any() and not zoned.all():
        index = int((~zoned).arg_true()[0])
        raise BadEntryError(texts.name, index, texts[index], "a time with a zone, as other rows have it")
    digits = parts["zone"].str.replace(":", "")
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    )
    offset = (
        minutes * pl.select(pl.when(digits.str.starts_with("-")).then(-1).otherwise(1)).to_series()
    ).fill_null(0)
    seconds = filled["hour"] * 3600 + (filled["minute"] - offset) * 60 + filled["second"]
    return dates.cast(pl.Datetime("us")).cast(pl.Int64) + seconds * 1_000_000 + filled["us"]
