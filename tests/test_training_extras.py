"""What a training leaves beside its weights: the log for TensorBoard, the likeness of its data, a region left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydantic
import pytest

from icemapper_xr import applicability, errors
from icemapper_xr.models import weights
from icemapper_xr.training import config, eventlog, export, fit, likeness, samples, scenes, sources, state, verbs
from tests.test_training_fit import make, tiny
from tests.test_training_parts import write_set

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*"),
    pytest.mark.filterwarnings("ignore:no applicability for these weights"),  # three scenes are too few to describe
]


def test_tensorboard_reads_every_row_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    rows = [{"step": 3.0, "seconds": 1.0, "loss": 0.5, "val_iou_pixels": 0.25}]
    assert eventlog.write(tmp_path / "events", rows)
    rows.append({"step": 6.0, "seconds": 2.0, "loss": 0.25, "val_iou_pixels": 0.75})
    assert eventlog.write(tmp_path / "events", rows)  # as a resumed training does
    [file] = (tmp_path / "events").iterdir()
    found = {}
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            found[event.step, value.tag] = number
    assert found == {
        (3, "loss"): 0.5,
        (3, "val_iou_pixels"): 0.25,
        (6, "loss"): 0.25,
        (6, "val_iou_pixels"): 0.75,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_a_log_that_cannot_be_replaced_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where TensorBoard reads it over NFS, which keeps what is deleted while it is open."""
    pytest.importorskip("tensorboard")
    rows = [{"step": 3.0, "seconds": 1.0, "loss": 0.5}]
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / ".nfs0001").touch()
    real = eventlog.shutil.rmtree
    monkeypatch.setattr(
        eventlog.shutil, "rmtree", lambda path, **named: None if path.name == "events" else real(path, **named)
    )
    assert not eventlog.write(tmp_path / "events", rows)
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_a_region_left_out_is_not_learned_from(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_set(tmp_path / f"{part}.hdf5")
    settings = tiny(data=tmp_path, features=("rtc", "insar"))
    with sources.open_data(settings, tmp_path) as data:
        names = [sample.name for sample in data.training(0)]
    assert len(names) == 2
    some = settings.model_copy(update={"leave_out": (names[0],)})
    with sources.open_data(some, tmp_path) as data:
        assert [sample.name for sample in data.training(0)] == names[1:]
    typo = settings.model_copy(update={"leave_out": (names[0], "SVAL10*")})
    with pytest.raises(errors.OptionError, match=r"'SVAL10\*' fits no sample"), sources.open_data(typo, tmp_path):
        pass
    none = settings.model_copy(update={"leave_out": ("*",)})
    with pytest.raises(errors.OptionError, match="leaves no sample"), sources.open_data(none, tmp_path):
        pass


def test_a_world_left_out_is_neither_learned_from_nor_validated_on(tmp_path: Path) -> None:
    worlds = {seed: scenes.simulated_world(seed) for seed in (*range(300_000, 300_040), *range(900_000, 900_008))}
    alpine = {seed for seed, world in worlds.items() if world == "alpine"}
    chosen = {"number": 40, "seed": 300_000, "size": 32, "validation": 8, "validation_seed": 900_000}
    chosen |= {"first": 4, "every": 2}
    settings = tiny(scenes=chosen, leave_out=("alp*",))
    wanted = scenes.SceneSet(settings, tmp_path, make)
    assert alpine
    assert set(wanted.seeds) == set(worlds) - alpine
    wanted.fill()
    assert [int(scene.name) for scene in wanted.at(0)] == wanted.seeds[len(wanted.validation()) :][:4]
    assert not alpine & {int(path.name) for path in tmp_path.glob("[0-9]*")}
    assert "but those of alp*" in sources.training_set(settings)
    by_epochs = settings.model_copy(update={"steps": None, "epochs": 3})
    source = sources.Source(by_epochs, tmp_path, make)
    learned = sum(seed < 900_000 for seed in set(worlds) - alpine)  # of 2 x 2 windows each, two a step
    assert learned < 40
    assert fit.total_steps(by_epochs, sources.Data(source, source.training(), [])) == 3 * (4 * learned // 2)
    with pytest.raises(pydantic.ValidationError, match=r"'SVAL-10-.*' fits no simulated world; they are polar, alpine"):
        tiny(leave_out=("SVAL-10-*",))
    with pytest.raises(errors.OptionError, match="leaves no scene to learn from: name fewer worlds"):
        scenes.SceneSet(tiny(leave_out=("*",)), tmp_path, make).at(0)


def test_training_data_are_described_in_the_units_of_a_cube(tmp_path: Path) -> None:
    settings = tiny(features=("rtc", "insar"), scenes={"number": 10, "size": 64, "validation": 1})
    wanted = scenes.SceneSet(settings, tmp_path, make)
    wanted.fill()
    found = wanted.at(10)
    parts = likeness.summaries_of(found, settings.features)
    assert len(parts) == 10
    levels = np.concatenate(parts)[:, [0, 8]]
    assert levels[:, 0].mean() == pytest.approx(-12.5, abs=1.5)  # dB
    assert levels[:, 1].mean() == pytest.approx(0.38, abs=0.1)  # coherence
    with pytest.raises(errors.OptionError, match="too few"):
        likeness.describe(found, settings, "a test")
    empty = Bare(found[0])
    assert likeness.summaries_of([empty], settings.features) == []


class Bare:
    """A scene without glaciers."""

    def __init__(self, scene: scenes.CachedScene) -> None:
        self.inner = scene.inner

    def truth(self, crop: samples.Crop) -> np.ndarray:
        return np.zeros((crop.size, crop.size), bool)


def test_numbers_lie_beside_the_weights(tmp_path: Path) -> None:
    assert applicability.beside(tmp_path / "ICEmapper_a.h5").name == "ICEmapper_a_applicability.json"


def test_weights_of_another_training_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(fit, "train", never)
    (tmp_path / "a.toml").write_text('features = ["rtc"]\nsteps = 3\n[scenes]\nnumber = 9\n')
    same = config.load(tmp_path / "a.toml")
    path = tmp_path / f"{same.name}.h5"

    def begin(*, resume: bool = False, **attrs: object) -> None:
        weights.write(fit.network(tiny()), path, attrs={"features": ["rtc"], **attrs})
        verbs.train_weights(tmp_path / "a.toml", out=tmp_path / "run", export=tmp_path, resume=resume)

    fewer = same.model_copy(update={"scenes": config.SceneSettings(number=8)})
    with pytest.raises(
        errors.OptionError, match=rf"{path.name} holds .*of other scenes\): name another folder to export"
    ):
        begin(**export.attributes(fewer, {}))
    with pytest.raises(errors.OptionError, match=r"\(of other warm_start\): name another folder .* or remove the file"):
        begin(**export.attributes(same, {}) | {"warm_start": "b.h5"})
    with pytest.raises(errors.OptionError, match=rf"{path.name} does not tell which training it is of"):
        begin()
    older = export.attributes(same, {})
    older["settings"] = older["settings"].replace('"unobserved":"mirror",', "")
    with pytest.raises(errors.OptionError, match=r"\(of other scenes\): name another folder to export"):
        begin(**export.attributes(fewer, {}), resume=True)
    for resume in (False, True):
        with pytest.raises(AssertionError, match="the work began"):
            begin(**older, resume=resume)


def test_weights_of_another_data_set_are_not_replaced(tmp_path: Path) -> None:
    """Both are called ICEmapper_tweightedpool_rtc_trained.h5."""
    here, other = (config.TrainingConfig(features=("rtc",), steps=3, data=tmp_path / name) for name in ("a", "b"))
    assert here.name == other.name
    weights.write(fit.network(tiny()), tmp_path / f"{here.name}.h5", attrs=export.attributes(here, {}))
    export.require_place(here, tmp_path)
    with pytest.raises(errors.OptionError, match=r"holds weights of another training \(of other data\)"):
        export.require_place(other, tmp_path)


def test_weights_of_scenes_of_another_simulator_are_not_exported_as_today_s(tmp_path: Path) -> None:
    settings = tiny()
    model = fit.network(settings)
    arrays = state.arrays_of(model.weights)
    of_then = state.State(step=3, rows=[{"val_iou_pixels": 0.5}], weights=arrays, best_weights=arrays)
    state.write_state(tmp_path / fit.CHECKPOINT, of_then, settings.digest, "aaaaaaaaaaaa")
    with pytest.raises(errors.OptionError, match=r"another version of the simulator \(aaaaaaaaaaaa, now "):
        export.from_checkpoint(settings, tmp_path, tmp_path / "out")
    assert not list(tmp_path.rglob("*.h5"))


def test_the_description_of_earlier_weights_does_not_stay_beside_new_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    told = applicability.fit([rng.normal(size=(100, 8)) for _ in range(8)], features=("rtc",), pixel_size=10.0)
    row = {"step": 1.0, "val_iou_pixels": 0.5}

    def write(seed: int, described: applicability.Likeness | None) -> Path:
        model = fit.network(tiny(seed=seed))
        return export.export(fit.Trained(model, [row], {}, tmp_path, described), tiny(seed=seed), tmp_path)

    path = write(1, told)
    assert applicability.read(applicability.beside(path)).digest == weights.sha256(path)
    assert write(1, None) == path
    assert applicability.beside(path).exists()  # the same weights
    write(2, None)
    assert not applicability.beside(path).exists()
