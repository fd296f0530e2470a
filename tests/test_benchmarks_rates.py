"""The scripts behind the tables of docs/statistics.md run, and say what the tables say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import coverage_of_rates

ARMS = {arm.name: arm for arm in coverage_of_rates.ARMS}


def covered(name: str, worlds: int = 6) -> dict[str, float]:
    rows = np.array([coverage_of_rates.one_world(ARMS[name], seed) for seed in range(worlds)])
    return dict(zip(coverage_of_rates.KINDS, rows[:, :, 0].mean(axis=0), strict=True))


def test_a_drift_is_seen_by_errors_against_a_reference_only() -> None:
    found = covered("drift 1 m/a")
    assert found["student"] == found["published paired"] == 0
    assert found["paired"] > 0.8
    assert covered("drift 1 m/a, reference in 2020 alone")["independent"] == 0


def test_a_marked_change_of_orbit_is_no_change_of_ice() -> None:
    assert covered("orbit change of 15 m, not marked")["student"] == 0
    assert covered("orbit change of 15 m, 2 years of both")["student"] > 0.6


@pytest.mark.slow
def test_a_world_goes_from_radar_to_a_rate() -> None:
    """One small world through simulator, network, calibration, filter and interval; the table takes more of them."""
    from benchmarks import end_to_end_rates

    table, _ = end_to_end_rates.run(1, 256, calibration_scenes=1)
    assert list(table["filter"]) == ["none", "median"]
    assert table["iou"].iloc[0] > 0.3
    assert np.isfinite(table[["rate", "adjusted", "true"]].to_numpy()).all()
    for name in end_to_end_rates.INTERVALS:
        assert (table[f"{name}_width"] > 0).all()
    assert len(list(end_to_end_rates.report(table))) == 9
