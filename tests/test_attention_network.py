"""Self-attention networks: the definition, token by token, is what both evaluations compute."""

from __future__ import annotations

import itertools

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transforms.attention import AttentionArchitecture, SelfAttention

F64 = torch.float64
P = 2**31 - 1


def definition(network, tokens):
    """y^i = sum_h O_h sum_j <Q_h x^i, K_h x^j> V_h x^j with loops and numpy, layer after layer."""
    held = [network.queries, network.keys, network.values, network.outputs]
    queries, keys, values, outputs = (w.detach().numpy() for w in held)
    x = tokens.numpy()
    if network.embedding is not None:
        x = x @ network.embedding.detach().numpy().T
    for layer in range(network.architecture.depth):
        y = numpy.zeros_like(x)
        for i, j, h in itertools.product(range(len(x)), range(len(x)), range(queries.shape[1])):
            score = (queries[layer, h] @ x[i]) @ (keys[layer, h] @ x[j])
            y[i] += outputs[layer, h] @ (values[layer, h] @ x[j]) * score
        x = y
    return x


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


SHAPES = [
    {"width": 3, "depth": 1},
    {"width": 4, "depth": 2, "heads": 2},
    {"width": 2, "depth": 3, "heads": 2},
    {"width": 3, "depth": 2, "heads": 2, "head_width": 3},
    {"width": 4, "depth": 2, "heads": 4, "embedding": 2},
    {"width": 2, "depth": 2, "embedding": 5},
]


@pytest.mark.parametrize("sizes", SHAPES)
def test_both_evaluations_are_the_definition(sizes):
    network = SelfAttention(**sizes, dtype=F64, generator=seeded())
    coordinates = network.architecture.coordinates
    tokens = torch.randn(5, coordinates, dtype=F64, generator=seeded(1))
    expected = definition(network, tokens)
    for evaluated in (network.literal(tokens), network.recursive(tokens), network(tokens)):
        numpy.testing.assert_allclose(evaluated.detach().numpy(), expected, rtol=1e-10, atol=1e-10)


@given(
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(0, 99)
)
def test_both_evaluations_agree_exactly_modulo_a_prime(width, depth, heads, count, seed):
    plan = AttentionArchitecture(width, depth, heads, head_width=1 + seed % 3, embedding=2)
    rng = numpy.random.default_rng(seed)
    for p in (5, 2**29 - 3, P):
        weights = plan.weights_modulo(p, rng)
        tokens = torch.from_numpy(rng.integers(0, p, (count, 2)))
        assert torch.equal(weights.literal(tokens), weights.recursive(tokens))


def test_residues_are_the_integers_that_python_computes():
    """Nothing overflows: weights and tokens near the prime, Python's integers as the truth."""
    rng = numpy.random.default_rng(0)
    shape = (1, 1, 5, 5)
    arrays = [rng.integers(P - 9, P, shape) for _ in range(4)]
    tokens = rng.integers(P - 9, P, (3, 5))
    q, k, v, o = (a[0, 0].astype(object) for a in arrays)
    x = tokens.astype(object)
    expected = ((x @ q.T) @ (x @ k.T).T @ (x @ v.T) @ o.T) % P
    tensors = [torch.from_numpy(a).double() for a in arrays]
    found = SelfAttention.from_weights(*tensors).modulo(P).recursive(torch.from_numpy(tokens))
    assert found.tolist() == expected.tolist()


def test_stored_floats_are_the_rationals_they_store():
    """A network of halves, modulo p, is the network of twice its weights over a power of two."""
    weights = [torch.tensor([[[[0.5]]]], dtype=F64)] * 4
    network = SelfAttention.from_weights(*weights)
    tokens = torch.tensor([[2], [3]])
    inverse = pow(16, -1, P)
    expected = [(2 * 13 * inverse) % P, (3 * 13 * inverse) % P]
    assert network.modulo(P).literal(tokens)[:, 0].tolist() == expected
    assert network.literal(tokens.double())[:, 0].tolist() == [26 / 16, 39 / 16]


def test_permuting_tokens_permutes_outputs_and_batches_are_independent():
    network = SelfAttention(4, 2, heads=2, dtype=F64, generator=seeded())
    tokens = torch.randn(3, 5, 4, dtype=F64, generator=seeded(1))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(network(tokens)[:, order], network(tokens[:, order]))
    torch.testing.assert_close(network(tokens)[1], network(tokens[1]))
    assert network(tokens[:0]).shape == (0, 5, 4)


def test_networks_are_homogeneous_of_degree_three_to_the_depth():
    for depth in (1, 2, 3):
        weights = AttentionArchitecture(2, depth).weights_modulo(P, numpy.random.default_rng(0))
        tokens = torch.tensor([[1, 2], [3, 4], [5, 6]])
        once, scaled = weights.recursive(tokens), weights.recursive(7 * tokens)
        assert scaled.tolist() == [[y * 7 ** (3**depth) % P for y in row] for row in once.tolist()]


def test_gradients_reach_weights_and_tokens():
    network = SelfAttention(2, 2, heads=2, embedding=2, dtype=F64, generator=seeded())
    tokens = torch.randn(3, 2, dtype=F64, generator=seeded(1), requires_grad=True)
    assert torch.autograd.gradcheck(network, (tokens,))
    network(tokens).sum().backward()
    for weight in network.parameters():
        assert weight.grad is not None
        assert bool((weight.grad != 0).any())


def test_networks_are_drawn_from_their_generator_and_kept_by_state_dicts():
    first, again = (SelfAttention(4, 2, 2, embedding=3, generator=seeded()) for _ in range(2))
    other = SelfAttention(4, 2, 2, embedding=3, generator=seeded(1))
    tokens = torch.randn(3, 3, generator=seeded(2))
    assert first(tokens).dtype == torch.float32
    assert torch.equal(first(tokens), again(tokens))
    assert not torch.equal(first(tokens), other(tokens))
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(tokens), other(tokens))


def test_given_weights_are_kept_bit_for_bit():
    drawn = SelfAttention(4, 2, 2, embedding=3, generator=seeded())
    held = [drawn.queries, drawn.keys, drawn.values, drawn.outputs, drawn.embedding]
    network = SelfAttention.from_weights(*held)
    assert network.architecture == AttentionArchitecture(4, 2, 2, head_width=2, embedding=3)
    for name, value in drawn.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_the_rank_of_an_embedding_is_exact():
    drawn = SelfAttention(3, 1, embedding=4, dtype=F64, generator=seeded())
    held = [drawn.queries, drawn.keys, drawn.values, drawn.outputs]
    column = torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)
    low = column @ torch.ones(1, 4, dtype=F64)
    assert SelfAttention.from_weights(*held, low).rank == 1
    assert drawn.rank == 3
    assert SelfAttention.from_weights(*held).rank == 3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 0, "depth": 1}, "expected width to be a positive integer, got 0"),
        ({"width": 2, "depth": 1.0}, "expected depth to be a positive integer, got 1.0"),
        ({"width": 3, "depth": 1, "heads": 2}, "expected heads to divide width, got 2 heads"),
        ({"width": 3, "depth": 1, "embedding": 0}, "expected embedding to be a positive"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        SelfAttention(**sizes)


def test_wrong_tokens_and_weights_are_refused():
    network = SelfAttention(2, 1)
    with pytest.raises(ValueError, match=r"expected tokens of shape \(\*batch, n, 2\), got \(3,\)"):
        network(torch.zeros(3))
    with pytest.raises(ValueError, match=r"expected tokens of type torch\.float32"):
        network(torch.zeros(3, 2, dtype=F64))
    with pytest.raises(ValueError, match="expected tokens of integers"):
        network.modulo(P).literal(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="expected an odd prime below"):
        network.modulo(2)
    eye = torch.eye(2).expand(1, 1, 2, 2)
    with pytest.raises(ValueError, match="expected keys of shape"):
        SelfAttention.from_weights(eye, torch.zeros(1, 1, 2, 3), eye, eye)
    with pytest.raises(ValueError, match="expected finite outputs"):
        SelfAttention.from_weights(eye, eye, eye, eye / 0)
    with pytest.raises(ValueError, match="expected queries of shape"):
        SelfAttention.from_weights(eye[0], eye, eye, eye)
