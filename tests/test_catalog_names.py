from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icemapper_xr.catalog import names, orbits

UTC = dt.UTC


def test_opera_name_tells_everything_but_the_pass() -> None:
    facts = names.parse("OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_20250830T120333Z_S1A_30_v1.0_VV.tif")
    assert facts is not None
    assert (facts.feature, facts.quantity, facts.scale, facts.polarisation) == ("rtc", "gamma0", "power", "VV")
    assert (facts.relative_orbit, facts.platform, facts.mode, facts.orbit_state) == (137, "S1A", "IW", None)
    assert facts.acquired == dt.datetime(2021, 11, 19, 1, 58, 58, tzinfo=UTC)
    assert facts.processed == dt.datetime(2025, 8, 30, 12, 3, 33, tzinfo=UTC)
    assert facts.burst == "T137-292319-IW2"
    assert facts.group.endswith("_v1.0")


@pytest.mark.parametrize(
    ("letters", "quantity", "scale", "filtered"),
    [
        ("gpuned", "gamma0", "power", False),
        ("sauncm", "sigma0", "amplitude", False),
        ("gdwfed", "gamma0", "dB", True),
    ],
)
def test_hyp3_rtc_letters(letters: str, quantity: str, scale: str, filtered: bool) -> None:
    facts = names.parse(f"S1A_IW_20230105T060000_DHP_RTC10_G_{letters}_AB12_HH.tif")
    assert facts is not None
    assert (facts.feature, facts.quantity, facts.scale, facts.filtered) == ("rtc", quantity, scale, filtered)
    assert (facts.polarisation, facts.platform, facts.mode) == ("HH", "S1A", "IW")


@pytest.mark.parametrize(
    ("name", "platform", "days", "looks", "orbit", "polarisation"),
    [
        ("S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12_corr.tif", "S1A", 12, 20, None, "HH"),
        ("S1AB_20150101T230038_20200924T005722_VVO2093_INT40_G_ueF_0A1B_corr.tif", "S1A/S1B", 2093, 20, None, "VV"),
        ("S1BA_20200918T073646_20200906T073646_HHR012_INT80_G_weF_77F1_corr.tif", "S1B/S1A", 12, 80, None, "HH"),
        ("S1_136231_IW2_20200604_20200616_VV_INT80_10C1_corr.tif", None, 12, 80, 64, "VV"),
        ("S1_068790_IW3_20260618_20260625_VV_INT20_5C36_corr.tif", None, 7, 5, 33, "VV"),
        (
            "S1_044_000000s1n00-093117s2n01-093118s3n01_IW_20250718_20250730_VV_INT80_B4FA_corr.tif",
            None, 12, 80, 44, "VV",
        ),
        ("S1A_064_E053_1_N27_3_E054_1_N27_8_20200604_20200616_VV_INT80_3FBF_corr.tif", "S1A", 12, 80, 64, "VV"),
    ],
)  # fmt: skip
def test_hyp3_coherence(
    name: str, platform: str | None, days: int, looks: float, orbit: int | None, polarisation: str
) -> None:
    facts = names.parse(name)
    assert facts is not None
    assert (facts.feature, facts.quantity, facts.scale) == ("insar", "coherence", "1")
    assert facts.reference is not None
    assert facts.secondary is not None
    assert abs((facts.secondary.date() - facts.reference.date()).days) == days
    assert (facts.platform, facts.looks, facts.relative_orbit) == (platform, looks, orbit)
    assert facts.polarisation == polarisation
    middle = facts.reference + (facts.secondary - facts.reference) / 2
    assert facts.when == middle


@pytest.mark.parametrize(
    "name",
    [
        "S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12_unw_phase.tif",
        "S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12_amp.tif",
        "S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12_other.tif",
        "S1A_IW_20230105T060000_DVP_RTC10_G_gpuned_AB12_inc_map.tif",
        "S1A_IW_20230105T060000_DVP_RTC10_G_gpuned_AB12_rgb.tif",
        "OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_20250830T120333Z_S1A_30_v1.0_mask.tif",
        "dem.tif",
        "hillshade.tif",
        "rtc_20231301.tif",
        "rtc_19991231.tif",
        "notes_20230105.txt",
    ],
)
def test_what_is_no_observation(name: str) -> None:
    assert names.parse(name) is None


def test_plain_names() -> None:
    facts = names.parse("rtc_S1A_IW_HH_ro014_20230105T055900.tif")
    assert facts is not None
    assert (facts.feature, facts.platform, facts.mode, facts.polarisation, facts.relative_orbit) == (
        "rtc", "S1A", "IW", "HH", 14,
    )  # fmt: skip
    assert facts.acquired == dt.datetime(2023, 1, 5, 5, 59, tzinfo=UTC)
    assert (facts.quantity, facts.scale, facts.group) == ("unknown", "unknown", "rtc_S1A_IW_ro014_20230105T055900")

    facts = names.parse("insar_S1A_IW_HH_ro014_20230105_20230117.tif")
    assert facts is not None
    assert (facts.feature, facts.quantity, facts.scale) == ("insar", "coherence", "1")
    assert facts.reference == dt.datetime(2023, 1, 5, tzinfo=UTC)
    assert facts.secondary == dt.datetime(2023, 1, 17, tzinfo=UTC)

    facts = names.parse("coh_S1A_S1B_HH_20210107_20210113.tif")
    assert facts is not None
    assert facts.platform == "S1A/S1B"

    facts = names.parse("grd_20230105.tif")
    assert facts is not None
    assert (facts.feature, facts.polarisation, facts.platform) == ("grd", None, None)

    facts = names.parse("/some/where/20230105_VV.TIFF")
    assert facts is not None
    assert (facts.feature, facts.polarisation, facts.group) == (None, "VV", "20230105")

    for polarisation in ("vv", "HH"):
        facts = names.parse(f"2023-01-05-{polarisation}.rtc.tif")
        assert facts is not None
        assert (facts.polarisation, facts.group, facts.feature) == (polarisation.upper(), "2023-01-05.rtc", "rtc")

    facts = names.parse("grd_sigma0_dB_2023-01-05_desc_hv.tif")
    assert facts is not None
    assert (facts.quantity, facts.scale, facts.orbit_state, facts.polarisation) == ("sigma0", "dB", "descending", "HV")


def test_digits_behind_a_date_that_are_no_time_of_day_hide_no_date() -> None:
    """An absolute orbit did: such names were said to have no date."""
    for digits in ("046643", "246000"):
        facts = names.parse(f"rtc_20230105_{digits}_VV.tif")
        assert facts is not None
        assert facts.acquired == dt.datetime(2023, 1, 5, tzinfo=UTC)
    assert names.parse("rtc_20230105T246000_VV.tif") is None
    assert names.parse("rtc_20230105046643_VV.tif") is None


@pytest.mark.parametrize(("second", "platform"), [("S1A", "S1A"), ("S1B", "S1A/S1B")])
def test_coherence_of_two_granules_is_a_pair(second: str, platform: str) -> None:
    """The date of the second one was lost."""
    first = "S1A_IW_SLC__1SDV_20230105T055900_20230105T055925_046643_0596E1_ABCD"
    other = f"{second}_IW_SLC__1SDV_20230117T055901_20230117T055926_046818_0596E1_ABCD"
    for name in (f"{first}_{other}_coh_VV.tif", f"coh_{other}_{first}_VV.tif", f"{first}-{other}.tif"):
        facts = names.parse(name)
        assert facts is not None
        assert facts.reference == dt.datetime(2023, 1, 5, 5, 59, tzinfo=UTC)
        assert facts.secondary == dt.datetime(2023, 1, 17, 5, 59, 1, tzinfo=UTC)
        assert {*(facts.platform or "").split("/")} == {*platform.split("/")}
    stamps = names.parse("coh_20230105T055900_20230105T055925_20230117T055901_20230117T055926.tif")
    assert stamps is not None
    assert (stamps.reference, stamps.secondary) == (facts.reference, facts.secondary)
    slices = names.parse(f"{first}_{first.replace('055900', '055925', 1)}.tif")
    assert slices is not None
    assert (slices.reference, slices.secondary) == (None, None)
    rtc = names.parse(f"{first}_{other}_rtc_VV.tif")
    assert rtc is not None
    assert (rtc.reference, rtc.secondary) == (None, None)


def test_the_letters_of_a_time_may_be_small() -> None:
    facts = names.parse("rtc_20230105t055900z_VV.tif")
    assert facts is not None
    assert facts.acquired == dt.datetime(2023, 1, 5, 5, 59, tzinfo=UTC)


def test_a_granule_in_a_plain_name_is_not_a_pair() -> None:
    facts = names.parse("S1A_IW_GRDH_1SDH_20250311T044231_20250311T044249_058252_073302_F851_rtc_HH.tif")
    assert facts is not None
    assert (facts.reference, facts.secondary, facts.feature) == (None, None, "rtc")
    assert (facts.platform, facts.absolute_orbit, facts.relative_orbit) == ("S1A", 58252, 80)


def test_files_of_planetary_computer_are_known_by_their_folders() -> None:
    granule = "S1A_IW_GRDH_1SDH_20250311T044231_20250311T044249_058252_073302_F851"
    facts = names.parse(f"/data/GRD/2025/3/11/IW/DH/{granule}/measurement/iw-hh.rtc.tiff")
    assert facts is not None
    assert (facts.feature, facts.quantity, facts.scale, facts.nodata) == ("rtc", "gamma0", "power", -32768.0)
    assert (facts.polarisation, facts.relative_orbit, facts.group) == ("HH", 80, f"{granule}_rtc")
    assert names.parse("/data/measurement/iw-hh.rtc.tiff") is None


def test_old_hyp3_rtc_name() -> None:
    facts = names.parse("S1B_IW_RT30_20190105T060000_G_saf_HV.tif")
    assert facts is not None
    assert (facts.quantity, facts.scale, facts.filtered, facts.polarisation) == ("sigma0", "amplitude", True, "HV")
    assert facts.acquired == dt.datetime(2019, 1, 5, 6, tzinfo=UTC)


def test_safe_measurement_is_raw() -> None:
    facts = names.parse("s1a-iw-grd-hh-20250311t044231-20250311t044249-058252-073302-001.tiff")
    assert facts is not None
    assert (facts.quantity, facts.scale, facts.geocoded, facts.mode) == ("digital_number", "amplitude", False, "IW")
    assert (facts.relative_orbit, facts.polarisation) == (80, "HH")


def test_the_table_shows_examples_that_match() -> None:
    for pattern in names.PATTERNS[:-1]:
        assert pattern.regex.fullmatch(pattern.example), pattern.title
        assert pattern.example in names.understood()


# Relative and absolute orbits as the catalogues state them (Sentinel-1 items of the real data folder, ESA granules).
@pytest.mark.parametrize(
    ("platform", "absolute", "relative"),
    [("S1A", 58252, 80), ("S1A", 58267, 95), ("S1A", 53498, 51), ("sentinel-1a", 14632, 35)],
)
def test_relative_orbit_of_known_passes(platform: str, absolute: int, relative: int) -> None:
    assert orbits.relative_orbit(platform, absolute) == relative


def test_relative_orbit_of_s1c_before_and_after_its_move() -> None:
    assert orbits.relative_orbit("S1C", 8018) == (8018 - 172) % 175 + 1
    assert orbits.relative_orbit("S1C", 8019) == (8019 - 99) % 175 + 1
    assert orbits.relative_orbit("S1D", 42) == 1


@given(st.sampled_from(["S1A", "S1B", "S1D"]), st.integers(1, 200_000))
def test_relative_orbit_repeats_and_counts_up(platform: str, absolute: int) -> None:
    here, there = orbits.relative_orbit(platform, absolute), orbits.relative_orbit(platform, absolute + 175)
    following = orbits.relative_orbit(platform, absolute + 1)
    assert here is not None
    assert 1 <= here <= 175
    assert there == here
    assert following == here % 175 + 1


def test_relative_orbit_is_unknown_without_platform_or_orbit() -> None:
    assert orbits.relative_orbit(None, 5) is None
    assert orbits.relative_orbit("S1A", None) is None
    assert orbits.relative_orbit("landsat-8", 5) is None
    assert orbits.relative_orbit("S1A", 0) is None


def test_orbit_of_a_burst() -> None:
    # Pairs of burst and path as HyP3 and OPERA print them in their names.
    for burst, path in ((136231, 64), (93117, 44), (93118, 44), (292319, 137), (71092, 34)):
        assert orbits.of_burst(burst) == path
    assert orbits.of_burst(0) is None
    assert orbits.of_burst(375888) is None
    assert orbits.of_burst(1) is None  # next to the equator


@pytest.mark.parametrize("text", ["S1A", "s1a", "SENTINEL-1A", "sentinel-1a", "Sentinel1A", "Sentinel-1 A"])
def test_platform_spellings(text: str) -> None:
    assert orbits.platform_code(text) == "S1A"


@pytest.mark.parametrize("text", [None, "", "S1", "S1E", "S2A", "sentinel-2a"])
def test_other_platforms(text: str | None) -> None:
    assert orbits.platform_code(text) is None
