"""Writes train.parquet, valid.parquet and test.parquet from the two raw files of Census-Income (KDD).

    python data/census_income/prepare.py RAW_FOLDER [OUT_FOLDER]

RAW_FOLDER holds census-income.data and census-income.test, each plain or gzipped (.gz). OUT_FOLDER is this
script's folder unless said.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import polars as pl

SPLIT_SEED = 2026
MISSING = "?"
NOT_INPUTS = ("marital_stat", "instance_weight")
# The names of the columns, in the order of the raw files.
COLUMNS = """
    age class_worker det_ind_code det_occ_code education wage_per_hour hs_college marital_stat
    major_ind_code major_occ_code race hisp_origin sex union_member unemp_reason full_or_part_emp
    capital_gains capital_losses stock_dividends tax_filer_stat region_prev_res state_prev_res
    det_hh_fam_stat det_hh_summ instance_weight mig_chg_msa mig_chg_reg mig_move_reg mig_same
    mig_prev_sunbelt num_emp fam_under_18 country_father country_mother country_self citizenship
    own_or_self vet_question vet_benefits weeks_worked year income_50k
""".split()
CODES = "age det_ind_code det_occ_code num_emp own_or_self vet_benefits weeks_worked year".split()
AMOUNTS = "wage_per_hour capital_gains capital_losses stock_dividends".split()


def read_raw(folder: Path, name: str) -> pl.DataFrame:
    """A raw file as stripped text columns, its ``?`` as nulls."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not packed.exists():
        raise FileNotFoundError(f"{folder} has neither {name} nor {name}.gz.")
    content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    frame = pl.read_csv(content, has_header=False, new_columns=list(COLUMNS), infer_schema=False)
    return frame.with_columns(pl.all().str.strip_chars()).with_columns(pl.all().replace(MISSING, None))


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Integers as integers, the two labels as 0 and 1, and no column that gives a label away."""
    return frame.with_columns(
        pl.col(CODES).cast(pl.Int8),
        pl.col(AMOUNTS).cast(pl.Int32),
        # "50000+." and "- 50000."
        income_50k=pl.col("income_50k").str.starts_with("50000+").cast(pl.Int8),
        never_married=(pl.col("marital_stat") == "Never married").cast(pl.Int8),
    ).drop(NOT_INPUTS)


def halves(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows 1:1 in two, drawn by a fixed seed; each half keeps the order of the file."""
    order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(frame.height)
    middle = frame.height // 2
    return frame[np.sort(order[:middle])], frame[np.sort(order[middle:])]


def main() -> None:
    """The command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("raw_folder", type=Path)
    parser.add_argument("out_folder", type=Path, nargs="?", default=Path(__file__).parent)
    arguments = parser.parse_args()
    train = typed(read_raw(arguments.raw_folder, "census-income.data"))
    valid, test = halves(typed(read_raw(arguments.raw_folder, "census-income.test")))
    for name, frame in {"train": train, "valid": valid, "test": test}.items():
        frame.write_parquet(
            arguments.out_folder / f"{name}.parquet", compression="zstd", compression_level=19
        )


if __name__ == "__main__":
    main()
