"""Maps that end in an exponential which multiplies a signal: affine couplings, log scales, exponential gates."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Zeros
from fanin.recipes.auto.maps import forward, maps_apart
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft
from fanin.recipes.engine.activation_facts import is_exponential
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network

__all__ = ["exponent"]

_NOT_ADDED = frozenset({"act", "act+gate", "attn_q", "attn_k", "attn_v", "datamul", "softmax", "router", "embed"})
_FACTOR = "act+gate"  # tag of a map that ends in a function which multiplies a signal
_LEAST = 4  # a single exponential of a Gaussian of std 1 has second moment e² already


def exponent(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The last map before an exponential that multiplies a signal: zero; small where it also feeds other things.

    Source: Kingma and Dhariwal 2018 (Glow), arXiv 1807.03039, section 3.3.
    """
    ends = role.name in network.exponents
    if not ends and not _is_beside(network, role):
        return None
    if ends and not role.parts:
        return draft("exponent", lambda read: (), lambda values: Zeros())
    count = max(_LEAST, len(network.exponents))
    if ends and (parts := _parts(role)):
        return _small_parts(network, role, options, parts, count)
    return forward(
        network,
        role,
        options,
        factor=1.0 / count,
        how="exponent",
        adds=("small exponent" if ends else "beside exponent",),
        rule="exponent",
        evidence="",
        count=count,
    )


def _parts(role: ParameterRole) -> tuple[int, ...]:
    """Which of the maps side by side in it end in the exponential; () where that cannot be told."""
    use = role.use
    if use is None or not all(is_exponential(a) for a in use.activations):
        return ()
    ends = tuple(n for n, part in enumerate(role.parts) if part.tag == _FACTOR)
    return ends if len(ends) < len(role.parts) else ()


def _small_parts(
    network: Network, role: ParameterRole, options: AutoOptions, parts: tuple[int, ...], count: int
) -> Draft:
    """Those maps much smaller than those beside them."""
    return forward(
        network,
        role,
        options,
        factor=1.0 / count,
        how="exponent",
        more=lambda std: (Number("exponent", std / count, "exponent part"),),
        law=maps_apart(role, parts, "exponent"),
        adds=("exponent part",),
        rule="exponent",
        evidence="",
        count=count,
    )


def _is_beside(network: Network, role: ParameterRole) -> bool:
    """Whether it reads what such a map reads and is added to the signal: the shift of an affine coupling."""
    use = role.use
    if use is None or role.role != "weight" or _NOT_ADDED & set(use.tags):
        return False
    reads = network.data_operand(network.graph.ops[use.op])
    return any(network.data_operand(network.graph.ops[op]) == reads for op in network.exponents.values())
