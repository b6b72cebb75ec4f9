"""Random streams have addresses: what is drawn elsewhere, and in which order, changes nothing."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.core.randomness import PURPOSES, Streams, generator_on

keys = st.tuples(st.sampled_from(PURPOSES), st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple))


def first(streams, purpose, *key):
    return torch.rand(4, generator=streams(purpose, *key), dtype=torch.float64).tolist()


def test_streams_do_not_depend_on_the_order_of_requests():
    addresses = [(purpose, exp, it) for purpose in PURPOSES for exp in range(2) for it in range(3)]
    one = {address: first(Streams(0), *address) for address in addresses}
    shuffled = random.Random(0).sample(addresses, len(addresses))
    streams = Streams(0)
    assert {address: first(streams, *address) for address in shuffled} == one
    assert len({tuple(values) for values in one.values()}) == len(addresses)


@settings(max_examples=100, deadline=None)
@given(one=keys, two=keys, seeds=st.tuples(st.integers(0, 2**64), st.integers(0, 2**64)))
def test_different_addresses_or_seeds_give_different_streams(one, two, seeds):
    same = one == two and seeds[0] == seeds[1]
    drawn = [first(Streams(seed), purpose, *key) for seed, (purpose, key) in zip(seeds, (one, two))]
    assert (drawn[0] == drawn[1]) == same


def test_shorter_and_longer_keys_with_zeros_are_different_addresses():
    streams = Streams(0)
    assert len({tuple(first(streams, "data", *[0] * length)) for length in range(5)}) == 5


def test_neighbouring_streams_are_uncorrelated():
    streams = Streams(0)
    rows = torch.stack([torch.rand(2000, generator=streams("nets", 0, it)) for it in range(40)])
    off = torch.corrcoef(rows) - torch.eye(40)
    assert off.abs().max() < 6 / 2000**0.5


def test_seed_0_is_a_seed_like_any_other():
    assert first(Streams(), "data") == first(Streams(0), "data") != first(Streams(1), "data")


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="--seed must be 0 or larger, not -1"):
        Streams(-1)


def test_unknown_purposes_are_refused():
    with pytest.raises(ValueError):
        Streams(0)("coffee")


def test_every_request_gives_a_fresh_generator_and_global_states_stay():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    streams = Streams(0)
    assert first(streams, "set", 1) == first(streams, "set", 1)
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()


def test_streams_are_the_same_on_every_machine():
    assert Streams(0)("data").initial_seed() == 8668861027912758289
    assert Streams(7)("evaluation", 1, 2, 3).initial_seed() == 2802214227233257781


def test_generator_on_its_own_device_is_itself_and_none_stays_none():
    rng = torch.Generator()
    assert generator_on("cpu", rng) is rng and generator_on(torch.device("cpu"), rng) is rng
    assert generator_on("cpu", None) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_generator_on_a_gpu_is_seeded_by_the_host_generator():
    rngs = [generator_on("cuda", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    draws = [torch.rand(3, device="cuda", generator=rng).tolist() for rng in rngs]
    assert draws[0] == draws[1] != draws[2]
