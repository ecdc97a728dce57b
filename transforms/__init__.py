"""Maps between the models of the zoo, and what they reveal about them."""

from mixtures.importing import undisturbed

with undisturbed():
    from transforms.bounds import min_cut
    from transforms.certificates import Certificate, certificate
    from transforms.convert import convert
    from transforms.cp import cp_rank
    from transforms.generic import generic_rank
    from transforms.lossy import reduce
    from transforms.matricize import matricize
    from transforms.nonnegative import nonnegative_rank
    from transforms.profiles import best_order, ht_ranks, multilinear_ranks, rank_profile, tt_ranks
    from transforms.ranks import Rank, rank
    from transforms.registry import converter, converters
    from transforms.trees import binary, reroot, suppress
    from transforms.witness import witness

__all__ = [
    "Certificate",
    "Rank",
    "best_order",
    "binary",
    "certificate",
    "convert",
    "converter",
    "converters",
    "cp_rank",
    "generic_rank",
    "ht_ranks",
    "matricize",
    "min_cut",
    "multilinear_ranks",
    "nonnegative_rank",
    "rank",
    "rank_profile",
    "reduce",
    "reroot",
    "suppress",
    "tt_ranks",
    "witness",
]
