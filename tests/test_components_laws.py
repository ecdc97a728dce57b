"""What every family of components must satisfy."""

from __future__ import annotations

import copy
import inspect
import json

import pytest
import torch

import mixtures.components
from mixtures.components import Components

from families import FAMILIES, build, holes, indices, rows, weights

NAMES = list(FAMILIES)
every = pytest.mark.parametrize("name", NAMES)


def test_every_concrete_family_is_in_the_suite():
    exported = [getattr(mixtures.components, name) for name in mixtures.components.__all__]
    classes = [each for each in exported if inspect.isclass(each) and issubclass(each, Components)]
    concrete = {each for each in classes if not inspect.isabstract(each)}
    tested = {type(build(name)) for name in NAMES}
    assert concrete == tested


@every
def test_log_prob_has_one_value_for_each_row_variable_and_component(name):
    components = build(name)
    x = rows(components, 7)
    values = components.log_prob(x)
    assert values.shape == (7, 3, components.largest)
    encoded = components.log_prob_encoded(components.encode(x))
    assert torch.equal(values, encoded.permute(2, 0, 1))
    assert not values.isnan().any()


@every
def test_components_a_variable_does_not_have_read_zero(name):
    components = build(name)
    x = rows(components, 5)
    for j, k in enumerate(components.shape):
        assert (components.log_prob(x)[:, j, k:] == 0).all()
        assert (components.mean()[j, k:] == 0).all()
        assert (components.inner(components)[j, k:] == 0).all()
        assert (components.inner(components)[j, :, k:] == 0).all()


@every
def test_missing_entries_read_exactly_zero_whatever_stands_in_their_place(name):
    components = build(name)
    x = rows(components, 20)
    observed = holes(components, x)
    seen = observed.flatten(2).any(-1) if observed.ndim > 2 else observed
    values = components.log_prob(x, observed)
    assert (values[~seen] == 0).all()
    garbage = x.double().clone()
    garbage[~observed] = torch.nan
    torch.testing.assert_close(components.log_prob(garbage, observed), values, rtol=0, atol=0)
    torch.testing.assert_close(components.log_prob(garbage), values, rtol=0, atol=0)
    garbage[~observed] = -1e6
    torch.testing.assert_close(components.log_prob(garbage, observed), values, rtol=0, atol=0)


@every
def test_rows_are_independent_of_the_rows_beside_them(name):
    components = build(name)
    x = rows(components, 12)
    data = components.encode(x, holes(components, x))
    whole = components.log_prob_encoded(data)
    for part in (slice(0, 4), slice(4, 12), torch.tensor([11, 3])):
        torch.testing.assert_close(components.log_prob_encoded(data.rows(part)), whole[..., part])


@every
def test_gradients_are_those_of_the_density_and_finite_at_missing_entries(name):
    components = build(name)
    x = rows(components, 3)
    data = components.encode(x, holes(components, x))
    parameters = list(components.parameters())
    if not parameters:
        return
    mass = weights(components, 3)

    def total(*_):
        logs = components.log_prob_encoded(data)
        return (logs * mass).sum() + components.log_prior()

    assert torch.autograd.gradcheck(total, parameters)
    total().backward()
    assert all(parameter.grad.isfinite().all() for parameter in parameters)


@every
def test_float32_is_near_float64(name):
    double = build(name)
    single = copy.deepcopy(double).float()
    x = rows(double, 9)
    assert single.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(
        single.log_prob(x).double(), double.log_prob(x), rtol=1e-4, atol=1e-4
    )


@every
def test_no_rows_are_no_trouble(name):
    components = build(name)
    x = rows(components, 4)[:0]
    data = components.encode(x)
    assert components.log_prob(x).shape == (0, 3, components.largest)
    before = copy.deepcopy(components.state_dict())
    components.maximise(components.statistics(data, weights(components, 0)))
    components.initialise(data)
    after = components.log_prob(rows(components, 4))
    assert not after.isnan().any()
    assert before.keys() == components.state_dict().keys()


@every
def test_everything_works_under_inference_mode(name):
    components = build(name)
    x = rows(components, 6)
    with torch.inference_mode():
        data = components.encode(x, holes(components, x))
        values = components.log_prob_encoded(data)
        components.complete(indices(components, 6), data, torch.Generator())
        components.maximise(components.statistics(data, weights(components, 6)))
        components.initialise(data, torch.Generator())
    assert not values.isnan().any()
    after = components.log_prob(x)
    assert not after.isnan().any()
    if list(components.parameters()):
        after.sum().backward()
    assert not any(tensor.is_inference() for tensor in components.state_dict().values())


@every
def test_draws_have_the_moments_of_their_component(name):
    components = build(name)
    n = 4000
    for i in range(max(components.shape)):
        chosen = torch.tensor(components.shape).sub(1).clamp(max=i).expand(n, -1)
        x = components.sample(chosen, torch.Generator().manual_seed(7)).double()
        if name == "LogNormal":
            continue  # its fourth moment is too large for a test; its logarithm is tested elsewhere
        j = torch.arange(components.variables)
        mean = components.mean()[j, chosen[0]].detach()
        variance = components.variance()[j, chosen[0]].detach()
        error = (variance / n).sqrt()
        assert ((x.mean(0) - mean).abs() <= 5 * error + 1e-9).all()
        assert ((x.var(0) - variance).abs() <= 0.25 * variance + 1e-9).all()


@every
def test_the_same_generator_gives_the_same_draws(name):
    components = build(name)
    state = torch.random.get_rng_state()
    first, second = rows(components, 9), rows(components, 9)
    assert torch.equal(first, second)
    data = components.encode(first, holes(components, first))
    draws = [
        components.complete(indices(components, 9), data, torch.Generator().manual_seed(3))
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert torch.equal(state, torch.random.get_rng_state())


@every
def test_completion_keeps_what_was_observed(name):
    components = build(name)
    x = rows(components, 30)
    observed = holes(components, x)
    damaged = x.double().masked_fill(
        ~observed.reshape(observed.shape + (1,) * (x.ndim - observed.ndim)), torch.nan
    )
    data = components.encode(damaged)
    whole = components.complete(indices(components, 30), data, torch.Generator().manual_seed(0))
    assert whole.shape == x.shape
    torch.testing.assert_close(whole[observed].double(), x[observed].double(), rtol=0, atol=0)
    assert not whole.isnan().any()
    components.encode(whole)


def tensors(components):
    return components.state_dict().items()


@every
def test_config_and_state_rebuild_the_object_bit_for_bit(name):
    for dtype in (torch.float32, torch.float64):
        components = build(name, dtype)
        x = rows(components, 8)
        config = json.loads(json.dumps(components.config()))
        state = torch.random.get_rng_state()
        again = Components.from_config(config)
        assert torch.equal(state, torch.random.get_rng_state())
        again.load_state_dict(components.state_dict())
        assert type(again) is type(components) and again.config() == components.config()
        assert torch.equal(again.log_prob(x), components.log_prob(x))
        assert torch.equal(again.log_prior(), components.log_prior())
        assert (again.shared, again.shape, again.event) == (
            components.shared,
            components.shape,
            components.event,
        )


@every
def test_selected_variables_have_the_densities_they_had(name):
    components = build(name)
    x = rows(components, 8)
    part = components.select([2, 0])
    assert part.shape == (components.shape[2], components.shape[0])
    assert type(part) is type(components) and part.shared == components.shared
    values, expected = part.log_prob(x[:, [2, 0]]), components.log_prob(x)[:, [2, 0]]
    torch.testing.assert_close(values, expected[..., : part.largest])
    alone = components.select([1])
    torch.testing.assert_close(
        alone.log_prob(x[:, 1:2]), components.log_prob(x)[:, 1:2, : alone.largest]
    )
    mine = {tensor.data_ptr() for _, tensor in tensors(components) if tensor.numel()}
    assert not mine & {tensor.data_ptr() for _, tensor in tensors(part)}


@every
def test_shared_components_serve_any_number_of_variables(name):
    components = build(name)
    if not components.shared:
        with pytest.raises(ValueError, match="shared"):
            components.of_length(5)
        return
    longer = components.of_length(5)
    assert longer.num_parameters == components.num_parameters
    x = rows(components, 6)
    values = longer.log_prob(torch.cat([x, x[:, :2]], 1))
    torch.testing.assert_close(values[:, :3], components.log_prob(x))
    torch.testing.assert_close(values[:, 3:], components.log_prob(x)[:, :2])


@every
def test_bounds_that_are_open_or_nan_restrict_nothing(name):
    components = build(name)
    if name in ("MultivariateGaussian", "MultivariateGaussian, tied") or "shared" in name:
        return
    row = (components.variables, *components.event)
    for low, high in ((-torch.inf, torch.inf), (torch.nan, torch.nan)):
        values = components.log_prob_box(torch.full(row, low), torch.full(row, high))
        assert values.shape == (1, 3, components.largest)
        assert (values == 0).all()


@every
def test_infinity_is_outside_every_domain(name):
    components = build(name)
    x = rows(components, 4).double()
    x[3, 2] = torch.inf
    with pytest.raises(ValueError, match=r"column 2, row 3.*inf is outside the domain"):
        components.log_prob(x)
    observed = torch.ones(4, 3, dtype=torch.bool)
    observed[3, 2] = False
    assert not components.log_prob(x, observed).isnan().any()


@every
def test_data_encode_once(name):
    components = build(name)
    x = rows(components, 5)
    data = components.encode(x)
    assert components.encode(data) is data
    assert len(data) == 5 and data.observed is None
    assert torch.equal(components.log_prob(x.numpy()), components.log_prob(data))
