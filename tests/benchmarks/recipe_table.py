"""What is tried beside our recipe, and the learning rates that each is tried at.

Ours stands first; every other entry differs from it in one ingredient, or is the plain recipe.
"""

from tests.benchmarks.recipe_models import Build
from tests.benchmarks.recipe_page import OURS
from tests.benchmarks.recipe_runs import Ingredients

PLAIN = "plain"
PLAIN_RECIPE = Ingredients(
    build=Build(plain=True, identity=False), optimizer="adamw", schedule="cosine", end_factor=0.1
)
"""GPT-2's shape, trained as nanoGPT trains it: AdamW with betas of 0.9 and 0.95, decay of 0.1, warm-up,
cosine to a tenth, gradients clipped at 1. The batch is ours."""

ENTRIES: dict[str, Ingredients] = {
    OURS: Ingredients(),
    PLAIN: PLAIN_RECIPE,
    # taken away
    "AdamW in place of Muon": Ingredients(optimizer="adamw"),
    "layers begin at random": Ingredients(build=Build(identity=False)),
    "cosine to zero": Ingredients(schedule="cosine"),
    "ends at a tenth": Ingredients(end_factor=0.1),
    "learned positions": Ingredients(build=Build(rotary=False)),
    "LayerNorm": Ingredients(build=Build(layer_norm=True)),
    "ungated, GELU": Ingredients(build=Build(mlp="gelu")),
    "documents see each other": Ingredients(borders=False),
    "no warm-up": Ingredients(warmup_share=0.0),
    "no weight decay": Ingredients(weight_decay=0.0),
    "no clipping": Ingredients(clip_norm=None),
    # put in
    "untied embeddings": Ingredients(build=Build(tied=False)),
    "ungated, squared ReLU": Ingredients(build=Build(mlp="squared relu")),
    "QK norm": Ingredients(build=Build(norms_of_queries=True)),
    "embeddings at 0.3 of the rate": Ingredients(embedding_rate=0.3),
    "embeddings at 3 times the rate": Ingredients(embedding_rate=3.0),
    "decay in the last fifth": Ingredients(decay_fraction=0.2),
    "decay from the warm-up on": Ingredients(decay_fraction=1.0),
    "half the batch": Ingredients(batch_tokens=1024),
    "twice the batch": Ingredients(batch_tokens=4096),
    "first weights of 0.05": Ingredients(build=Build(initial_range=0.05)),
    "weight decay of 0.3": Ingredients(weight_decay=0.3),
    "untied, ungated, squared ReLU": Ingredients(build=Build(tied=False, mlp="squared relu")),
}
