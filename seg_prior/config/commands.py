"""The settings of every command: one frozen model is the flags, the YAML and the JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from seg_prior.config.base import FrozenModel
from seg_prior.config.inference import ReadingConfig
from seg_prior.config.intensity import IntensityConfig
from seg_prior.config.networks import VAEConfig
from seg_prior.config.optim import OptimConfig
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.config.synthesis import AugmentConfig, PaintConfig


class TrainPriorConfig(RuntimeConfig):
    """`train-prior`: label maps in, an anatomical prior out.

    Attributes:
        labels: Label maps: files, folders, patterns or .txt lists.
        out: Checkpoint to write; logs and resume state go to a folder beside it.
        label_table: Tab-separated id, name, scored_as, intensity_class[, partner], or a BIDS
            dseg.tsv, or a FreeSurfer color table; without one every id is a label of its own.
        kind: vae, pca (linear latent) or atlas (no latent).
        spacing_mm: Of prior space; None takes a 104th of the anatomy's longest side.
        margin_mm: Of prior space around the anatomy.
        pose: as_maps if scans have the label maps' field of view, such as crops around an organ:
            where it lies in the image is then learned from them. any makes no such claim.
        holdout: Subjects (file names up to the suffix) kept out of training, on whose label maps
            reconstruction is measured.
        num_components: Of kind pca; at most one less than there are maps and mirror images.
        kl_warmup_steps: The KL term is ramped up (quadratically) over so many steps: with the full
            term from the start, q collapses onto N(0, I) before the decoder has learned to listen.
        decoded_share: Of the anatomy, drawn anew at each step, that is decoded and compared; the
            decoder is what takes most of the time.
    """

    labels: list[Path]
    out: Path
    label_table: Path | None = None
    kind: Literal["vae", "pca", "atlas"] = "vae"
    spacing_mm: float | None = Field(None, gt=0)
    margin_mm: float = Field(6.0, ge=0)
    pose: Literal["any", "as_maps"] = "any"
    holdout: list[str] = []
    num_components: int = Field(19, ge=0)
    kl_warmup_steps: int = Field(200, ge=0)
    decoded_share: float = Field(1.0, gt=0, le=1)
    vae: VAEConfig = VAEConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    intensity: IntensityConfig = IntensityConfig()


class SegmentConfig(ReadingConfig):
    """`segment`: scans in, label maps on the scans' own grids out.

    Attributes:
        images: Scans: files, folders, patterns or .txt lists.
        out: A file for one scan, a folder for several.
        contrasts: Further images of the one scan, which their headers lay upon it; only with one
            scan.
        volumes: Write the volume of every label; of several scans, also all in OUT/volumes.tsv.
        posteriors: Write the probability of every label, as a 4-D image.
        entropy: Write the entropy of the posterior.
        report: Write a page for each scan to be judged by, and volumes; in a folder OUT also
            report.html, which lists all.
        bids: Make OUT a BIDS derivatives folder; with volumes, posteriors and the label table.
        overwrite: Segment again what is finished, of the same scan, model and settings.
        shard: Of a long list, do part I of N, as `I/N`; other machines do the others.
    """

    images: list[Path]
    out: Path
    contrasts: list[Path] = []
    volumes: bool = False
    posteriors: bool = False
    entropy: bool = False
    report: bool = False
    bids: bool = False
    overwrite: bool = False
    shard: str = Field("1/1", pattern=r"^[1-9]\d*/[1-9]\d*$")


class TrainEncoderConfig(RuntimeConfig):
    """`train-encoder`: unlabelled images and a prior in, a model that reads images out.

    Attributes:
        images: Unlabelled scans: files, folders, patterns or .txt lists. May be empty with
            `synthetic_only`.
        prior: Checkpoint of kind prior.
        labels: Label maps that painted images are made of; without them the prior draws its own.
        out: Checkpoint to write.
        synthetic_only: Stop after the painted images.
        n4: Correct the bias field of the scans first.
        likelihood: exact mixture, or the jensen bound of 2018.
        augment, paint, pretrain: Of the painted images and the training on them.
        adapt: Of the training on real scans.
    """

    images: list[Path] = []
    prior: Path
    labels: list[Path] = []
    out: Path
    synthetic_only: bool = False
    n4: bool = False
    likelihood: Literal["exact", "jensen"] = "exact"
    augment: AugmentConfig = AugmentConfig()
    paint: PaintConfig = PaintConfig()
    pretrain: OptimConfig = OptimConfig(steps=1500)
    adapt: OptimConfig = OptimConfig(steps=300, learning_rate=1e-4)


class TrainLocatorConfig(RuntimeConfig):
    """`train-locator`: a prior and unlabelled scans in, the prior that finds its organ in such out.

    Attributes:
        images: Unlabelled scans: files, folders, patterns or .txt lists.
        prior: Checkpoint of any kind, trained with `pose: as_maps`.
        out: Checkpoint to write: the same prior and the network.
        spacing_mm: Of the grid that the network sees images on; None takes the finest on which the
            median scan has 400,000 voxels, and none finer than prior space.
        optim: Of the network.
    """

    images: list[Path]
    prior: Path
    out: Path
    spacing_mm: float | None = Field(None, gt=0)
    optim: OptimConfig = OptimConfig(steps=800, batch_size=2, learning_rate=2e-3, warmup_steps=50)


class CalibrateConfig(RuntimeConfig):
    """`calibrate`: a model and label maps in; what its results are judged by into the model.

    Attributes:
        model: Checkpoint of any kind; its header is written anew, its weights stay as they are.
        labels: Label maps that scans are painted from.
        num_scans: How many, at least 8; the maps take turns.
        spacing_mm: Of the painted scans; None is half of prior space's.
        augment: Of the anatomies.
        paint: Of the images; its lengths are in voxels of the scan.
    """

    model: Path
    labels: list[Path]
    num_scans: int = 32
    spacing_mm: float | None = Field(None, gt=0)
    augment: AugmentConfig = AugmentConfig()
    paint: PaintConfig = PaintConfig(max_label_sd=0.05, stripped_share=1.0)


class CheckConfig(FrozenModel):
    """`check`: label maps and scans in, what is odd about them and a proposed config out.

    Attributes:
        labels: Label maps: files, folders, patterns or .txt lists.
        images: Scans, in the same forms; of the same subjects or of others.
        out: Folder for the label table and the proposed settings of `train-prior`.
        label_table: Tab-separated id, name, scored_as, intensity_class[, partner]; without one
            every id is a label, and sides are read from the geometry.
        quiet: No talk.
    """

    labels: list[Path]
    images: list[Path] = []
    out: Path
    label_table: Path | None = None
    quiet: bool = False


class EvaluateConfig(FrozenModel):
    """`evaluate`: label maps and their references in, a table of how far they agree out.

    Attributes:
        pred: Label maps to score: a file, a folder, a pattern or a .txt list.
        ref: Their references, in the same forms; files are paired by subject.
        out: A .csv file to write, with a .json of the same name beside it; None writes nothing.
        label_table: Tab-separated id, name, scored_as, intensity_class[, partner]; without one
            every id is scored as it is.
        surface: Measure surface distances, which take most of the time.
        quiet: Do not print the scores.
    """

    pred: Path
    ref: Path
    out: Path | None = None
    label_table: Path | None = None
    surface: bool = True
    quiet: bool = False


class SampleConfig(RuntimeConfig):
    """`sample`: a prior in, anatomies drawn from it out.

    Attributes:
        model: Checkpoint of kind prior, model or pca.
        out: Folder for the label maps, on the prior grid, and a picture of them.
        num: How many to draw; the first ten of twenty are the ten one gets by asking for ten.
    """

    model: Path
    out: Path
    num: int = Field(default=6, ge=1)


class ReconstructConfig(RuntimeConfig):
    """`reconstruct`: label maps in, what a prior makes of them out.

    Attributes:
        model: Checkpoint of any kind.
        labels: Label maps of any grid: files, folders, patterns or .txt lists.
        out: Folder for the reconstructions, on the prior grid, a picture and a table of Dice.
    """

    model: Path
    labels: list[Path]
    out: Path


class MakePhantomsConfig(FrozenModel):
    """`make-phantoms`: nothing in, scans of synthetic heads with their label maps out.

    Attributes:
        out: Folder to write to.
        num: Number of heads.
        seed: Another seed gives other heads throughout.
        spacing_mm: Mean edge of a voxel, 1 to 8 mm.
        quiet: No talk.
    """

    out: Path
    num: int = 20
    seed: int = 0
    spacing_mm: float = 3.0
    quiet: bool = False


class DemoConfig(RuntimeConfig):
    """`demo`: nothing in, both stages trained and judged on synthetic heads out.

    Attributes:
        out: Folder to write to.
    """

    out: Path = Path("seg-prior-demo")
