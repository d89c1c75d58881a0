"""Rates are met with less care, and in less time."""

import pytest

from fuxi_mtl.simulation import funnel


@pytest.fixture(autouse=True, scope="session")
def _quick_calibration():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(funnel, "_CALIBRATION_ROWS", 30_000)
        yield
