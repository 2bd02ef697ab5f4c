"""Every setting of every stage: one frozen model is the flags, the YAML and the JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

BRAIN_MODEL = Path(__file__).parent / "weights" / "brain.safetensors"

LabelFormat = Literal["bids", "freesurfer", "itksnap", "slicer", "fsleyes"]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Width = Annotated[int, Field(gt=0, multiple_of=8)]
# YAML takes a bare 0 for a number.
Refine = Annotated[Literal["0", "fast", "full"], BeforeValidator(lambda v: "0" if v == 0 else v)]


class VAEConfig(_Config):
    """Shape of the label VAE.

    Attributes:
        latent_channels: C; z has C numbers for each block of 8 x 8 x 8 voxels of prior space.
        detail_channels: F; z has F more numbers for each block of 2 x 2 x 2 voxels with anatomy.
            0 leaves the detail out, which few or small label maps do not teach.
        widths: Channels at 1/2, 1/4 and 1/8 of the grid, each a multiple of 8.
        num_blocks: Residual blocks at 1/4 and at 1/8, in encoder and decoder each.
    """

    latent_channels: int = Field(8, ge=3)
    detail_channels: int = Field(0, ge=0)
    widths: tuple[Width, Width, Width] = (32, 64, 128)
    num_blocks: int = Field(2, ge=0)


class AugmentConfig(_Config):
    """Spread of the random anatomies made from each label map; 0 switches a part off.

    Attributes:
        rotation_sd_deg, shear_sd, log_scale_sd, shift_sd_mm: Standard deviations along each axis.
        warp_knots_mm, warp_sd_mm: Distance of the control points, and standard deviation of the
            velocity there, for each scale of the smooth warp. Each draw has a strength between 0
            and 1, so displacements have about 0.4 of this deviation.
        flip: Swap left and right in half of the draws, where the label table has partners.
    """

    rotation_sd_deg: float = 2.0
    shear_sd: float = 0.015
    log_scale_sd: float = 0.03
    shift_sd_mm: float = 1.5
    warp_knots_mm: tuple[float, ...] = (40.0, 16.0)
    warp_sd_mm: tuple[float, ...] = (3.0, 1.5)
    flip: bool = True


class OptimConfig(_Config):
    """How a network is trained.

    Attributes:
        steps, batch_size: Optimiser steps, and subjects in one (over all processes together).
        learning_rate, warmup_steps, weight_decay: AdamW with a linear warm-up and a cosine.
        max_grad_norm: Gradients are scaled down to this norm (losses are in nats per voxel).
        precision: 32-true, or bf16-mixed (about twice as fast where the hardware knows bfloat16).
        num_workers: Processes that make samples beside the one that trains.
        log_every, validate_every, save_every: In steps.
    """

    steps: int = Field(2000, gt=0)
    batch_size: int = Field(1, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(100, ge=0)
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    num_workers: int = Field(1, ge=0)
    log_every: int = Field(20, gt=0)
    validate_every: int = Field(500, gt=0)
    save_every: int = Field(250, gt=0)


class InferenceConfig(_Config):
    """How one image is read.

    Attributes:
        likelihood: exact mixture, or the jensen bound of 2018.
        refine_rate: Of the Adam steps on z.
        image_weight: Of log p(x | z) beside log p(z) in those steps. Neighbouring voxels share
            their errors (texture, partial volume, labelling), so a scan holds fewer independent
            observations than voxels; 1 takes each voxel at its word.
    """

    likelihood: Literal["exact", "jensen"] = "exact"
    refine_rate: float = Field(0.1, gt=0)
    image_weight: float = Field(0.05, gt=0)


class IntensityConfig(_Config):
    """The intensity model that a prior carries.

    Attributes:
        ties: New name -> intensity classes of the label table that share its Gaussians; each mixes
            them by weights of its own.
        components: Tie, or class that stands alone -> number of Gaussians; 1 where none is named.
        typical: Class of the label table -> typical relative intensity, for painting the image
            that registration compares with. Mutual information is used, so only which classes
            differ matters; classes not named are spread evenly.
        evidence: Power of the likelihood in the posterior of a prior with detail. Its f(z) has
            read every voxel already, and 1 lets each speak a second time as loudly: right where
            Gaussians tell tissues apart, too loud where neighbours share one intensity.
    """

    ties: dict[str, list[str]] = {}
    components: dict[str, int] = {"background": 3}
    typical: dict[str, float] = {}
    evidence: float = Field(1.0, gt=0, le=1)


class RuntimeConfig(_Config):
    """Where and how a stage runs.

    Attributes:
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        threads: CPU threads; 0 leaves the choice to torch. One thread repeats bit for bit.
        seed: Of everything random.
        quiet: No progress bars, no talk.
    """

    device: str = "auto"
    threads: int = Field(0, ge=0)
    seed: int = 0
    quiet: bool = False


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


class ReadingConfig(RuntimeConfig):
    """How a scan is read: all that a label map depends on beside the scan.

    Attributes:
        model: Checkpoint of any kind; the human brain model of the package if none is named.
        output: posterior (intensities and prior), or prior (the smooth outline of the prior alone).
        n4: Correct the bias field before anything else.
        volume: Which volume of a 4-D series to take, from 0.
        refine: How long to look: 0, fast or full; what the model is best with if nobody says.
        inference: How z is refined.
    """

    model: Path = BRAIN_MODEL
    output: Literal["posterior", "prior"] = "posterior"
    n4: bool = False
    volume: int | None = Field(None, ge=0)
    refine: Refine | None = None
    inference: InferenceConfig = InferenceConfig()


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


class PaintConfig(_Config):
    """Spread of painted images; means of intensity classes are uniform between 0 and 1.

    Attributes:
        max_label_sd: Largest deviation of the means of labels within one class.
        max_sd: Largest standard deviation within a label.
        background_sd: How far background differs from place to place.
        blur_sd_voxels: Range of the Gaussian blur, in voxels of prior space.
        thick_share, max_slice_voxels: Share of images with thick slices along one axis, and how
            thick at most, in voxels of prior space, at most 4.
        max_log_bias: Largest standard deviation of the log bias field.
        max_noise: Largest standard deviation of white noise.
        stripped_share: Share of images of which only the anatomy is in the field of view.
    """

    max_label_sd: float = 0.12
    max_sd: float = 0.1
    background_sd: float = 0.3
    blur_sd_voxels: tuple[float, float] = (0.3, 0.9)
    thick_share: float = 0.2
    max_slice_voxels: float = Field(3.0, ge=1, le=4)
    max_log_bias: float = 0.2
    max_noise: float = 0.05
    stripped_share: float = 0.5


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


class LocatorConfig(_Config):
    """Form of the network that sees which labels lie where in an image.

    Attributes:
        spacing_mm: Of the grid that it sees images on.
        widths: Channels at a half, a quarter and an eighth of that grid; multiples of 8.
    """

    spacing_mm: float = Field(gt=0)
    widths: tuple[Width, Width, Width] = (32, 64, 96)


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


class CheckConfig(_Config):
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


class EvaluateConfig(_Config):
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


class MakePhantomsConfig(_Config):
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


class AdaptConfig(RuntimeConfig):
    """`pipelines/adapt_to_dataset.py`: a data set in, models, segmentations and a page out.

    Attributes:
        name: Of the data set, on the page.
        data: Folder that `images` and `labels` lie in.
        images, labels: Patterns in `data`; paired by subject.
        out: Folder to write to.
        header_spacing_mm: What the headers should say of the voxels' spacing, where they are wrong.
        shares: Of the subjects whose label maps train the prior, whose unlabelled images choose
            Gaussians and train the encoder, and who are scored.
        scored: Names of the scored subjects, where they are settled; `shares` deals the others.
        prior: Settings of `train-prior` that override the proposed ones.
        locator: Settings of `train-locator`, which is trained where scans are cut like the maps.
        encoder: Settings of `train-encoder`, where they differ from a short training; null leaves
            the label encoder to read images.
        refine: What counts as the data set's refinement; the other one has its row, too. The climb
            of full follows the likelihood: it finds how far a stripped organ is from the mean one,
            and stretches an organ amid other tissue over its neighbours.
    """

    name: str
    data: Path
    images: str
    labels: str
    out: Path
    header_spacing_mm: tuple[float, float, float] | None = None
    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    scored: tuple[str, ...] = ()
    prior: dict[str, Any] = {}
    locator: dict[str, Any] = {}
    encoder: dict[str, Any] | None = None
    refine: Literal["fast", "full"] = "fast"


class BenchmarkMethod(_Config):
    """One way to segment.

    Attributes:
        name: In tables and pictures.
        model: Checkpoint, in the benchmark's `models`; None is the Gaussian mixture without
            anatomy.
        segment: Settings of `segment`, where they differ from its defaults.
    """

    name: str
    model: Path | None = None
    segment: dict[str, Any] = {}


class BenchmarkDataset(_Config):
    """Scans with references.

    Attributes:
        name: In tables and file names.
        images, references: Patterns in the benchmark's `data`; paired by subject.
        label_table: Of the references and of every model, in the benchmark's `tables`.
    """

    name: str
    images: str
    references: str
    label_table: Path


class BenchmarkConfig(RuntimeConfig):
    """`pipelines/benchmark.py`: every method on every data set in, a page of tables out.

    Attributes:
        data, models, tables: Folders that data sets, checkpoints and label tables lie in.
        cache: Folder of what has been measured; each scan and method is measured once.
        page: Markdown file; only what stands in the marked block of a data set is replaced.
        methods, datasets: What to measure.
    """

    data: Path
    models: Path
    tables: Path
    cache: Path
    page: Path
    methods: list[BenchmarkMethod]
    datasets: list[BenchmarkDataset]
