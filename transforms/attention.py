"""Self-attention beside the mixtures: separation ranks, and where depth stops paying.

Networks and their exact evaluation are in `attention_network`, certified ranks in
`attention_ranks`, bounds with their status in `attention_bounds`, the empirical law in
`attention_law`, trained transformers in `attention_training` and their runs in `attention_runs`,
pictures in `attention_plot`; what a user needs of them is named here.
"""

from transforms.attention_bounds import (
    Bound,
    depth_threshold,
    derived_upper_bound,
    quoted_lower_bound,
    quoted_upper_form,
    verified_bounds,
    width_needed,
)
from transforms.attention_law import (
    GPT3,
    LAW,
    Estimate,
    Law,
    TrainedShape,
    gpt3_family,
    is_too_deep,
    non_embedding_parameters,
    optimal_depth,
    optimal_width,
)
from transforms.attention_network import SelfAttention
from transforms.attention_plot import (
    depth_width_plane,
    learning_curves,
    loss_against_depth,
    loss_at_budgets,
    rank_against_depth,
)
from transforms.attention_ranks import AttentionWitness, separation_bound, separation_rank
from transforms.attention_runs import Run, best_depth, measured, spread, tuned
from transforms.attention_task import CompositionTask
from transforms.attention_training import BUDGETS, GRID, Settings, design, sweep, train
from transforms.attention_transformer import Transformers, TransformerShape
from transforms.attention_weights import AttentionArchitecture, AttentionWeights

__all__ = [
    "BUDGETS",
    "GPT3",
    "GRID",
    "LAW",
    "AttentionArchitecture",
    "AttentionWeights",
    "AttentionWitness",
    "Bound",
    "CompositionTask",
    "Estimate",
    "Law",
    "Run",
    "SelfAttention",
    "Settings",
    "TrainedShape",
    "TransformerShape",
    "Transformers",
    "best_depth",
    "depth_threshold",
    "depth_width_plane",
    "derived_upper_bound",
    "design",
    "gpt3_family",
    "is_too_deep",
    "learning_curves",
    "loss_against_depth",
    "loss_at_budgets",
    "measured",
    "non_embedding_parameters",
    "optimal_depth",
    "optimal_width",
    "quoted_lower_bound",
    "quoted_upper_form",
    "rank_against_depth",
    "separation_bound",
    "separation_rank",
    "spread",
    "sweep",
    "train",
    "tuned",
    "verified_bounds",
    "width_needed",
]
