"""Writes train.parquet, valid.parquet and test.parquet from the table of exposures.

    python data/complete_journey/prepare.py RAW_FOLDER [OUT_FOLDER]

RAW_FOLDER holds exposures_small.parquet, one row an exposure, with the column `split` (train, val, test);
README.md says how that table is made. OUT_FOLDER is this script's folder unless said.
"""

import argparse
from pathlib import Path

import polars as pl

IDS = ("household_id", "store_id", "product_id", "manufacturer_id")
SMALL = ("week", "hour_of_day", "day_of_week", "hh_type_weeks", "weeks_since_type", "hh_product_weeks")
COUNTS = ("prod_pop_prev8w", "hh_baskets_prev8w")
SPLITS = {"train": "train", "valid": "val", "test": "test"}


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows in narrow types; the time stamp goes, its week, day and hour stay."""
    return frame.drop("ts").with_columns(
        pl.col(IDS).cast(pl.Int32), pl.col(SMALL).cast(pl.Int8), pl.col(COUNTS).cast(pl.Int32)
    )


def main() -> None:
    """The command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("raw_folder", type=Path)
    parser.add_argument("out_folder", type=Path, nargs="?", default=Path(__file__).parent)
    arguments = parser.parse_args()
    exposures = typed(pl.read_parquet(arguments.raw_folder / "exposures_small.parquet"))
    for name, value in SPLITS.items():
        exposures.filter(pl.col("split") == value).drop("split").write_parquet(
            arguments.out_folder / f"{name}.parquet", compression="zstd", compression_level=19
        )


if __name__ == "__main__":
    main()
