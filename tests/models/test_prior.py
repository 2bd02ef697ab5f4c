"""What every family of priors can do, whatever it is."""

import pytest
import torch

from seg_prior.errors import ConfigError
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.models.linear import fit_atlas, fit_components
from seg_prior.models.location import LocationPrior
from seg_prior.models.prior import Prior
from tests.models import toy


def priors(location: LocationPrior) -> dict[str, Prior]:
    soft = [one_hot(toy.inside(location, m), toy.NUM_LABELS)[0] for m in toy.label_maps()]
    torch.manual_seed(0)
    return {
        "atlas": fit_atlas(location),
        "pca": fit_components(location, soft, 3),
        "vae": LabelVAE(location, toy.TINY).eval(),
        "ae": LabelVAE(location, toy.TINY, is_variational=False).eval(),
    }


@pytest.mark.parametrize("kind", ["atlas", "pca", "vae", "ae"])
def test_encode_decode_log_prob_and_sample_fit_together(location: LocationPrior, kind: str) -> None:
    prior = priors(location)[kind]
    soft = one_hot(toy.inside(location, toy.label_map()), toy.NUM_LABELS)
    with torch.no_grad():
        mean, log_var = prior.encode(soft)
        drawn = prior.sample(torch.Generator().manual_seed(0))
        for z in (mean, drawn):
            assert z.shape == (1, prior.num_latents)
            assert prior.decode(z).shape == soft.shape
            assert prior.log_prob(z).shape == (1,)
    assert (log_var == -torch.inf).all() if kind in ("ae", "atlas") else log_var.isfinite().all()


@pytest.mark.parametrize("kind", ["atlas", "pca", "vae", "ae"])
def test_a_z_of_another_model_is_refused_in_one_line(location: LocationPrior, kind: str) -> None:
    prior = priors(location)[kind]
    z = torch.zeros(1, prior.num_latents + 1)
    for ask in (prior.decode, prior.log_prob):
        with pytest.raises(ConfigError, match="It is of another model: encode the label map"):
            ask(z)


def test_where_q_is_a_point_noise_has_no_say(location: LocationPrior, rng: torch.Generator) -> None:
    prior = priors(location)["ae"]
    assert isinstance(prior, LabelVAE)
    label_map = toy.inside(location, toy.label_map())
    noise = torch.randn(1, prior.num_latents, generator=rng)
    with torch.no_grad():
        first, *_ = prior(label_map, noise)
        second, *_ = prior(label_map, 0 * noise)
    assert torch.equal(first, second)
