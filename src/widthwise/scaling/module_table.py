"""What module types say about their parameters: qualified class name -> parameter name -> what each dimension does.

A class speaks for its subclasses. A row's last axis stands for every further dimension, so that one row serves
convolutions of one, two and three dimensions. Parameter names are patterns of `fnmatch` where a class numbers them.
Convolutions also look at how their groups grow: see `module_rules`.
"""

from collections.abc import Mapping

from widthwise.scaling.axis import Axis

Rows = Mapping[str, tuple[Axis, ...]]

C, P, E, S = Axis.CONTRACTED, Axis.PRODUCED, Axis.ELEMENTWISE, Axis.STACKED

ELEMENTWISE: Rows = {"weight": (E,), "bias": (E,)}
LINEAR: Rows = {"weight": (P, C), "bias": (E,)}
TRANSPOSED: Rows = {"weight": (C, P), "bias": (E,)}
LOOKUP: Rows = {"weight": (S, P)}
RECURRENT: Rows = {"weight_*": (P, C), "bias_*": (E,)}
EXPERTS: Rows = {"gate_up_proj": (S, P, C), "down_proj": (S, P, C)}
TOKENS: Rows = {
    "cls_token": (E,),
    "mask_token": (E,),
    "distillation_token": (E,),
    "position_embeddings": (S, S, P),
}

TORCH_MODULES: Mapping[str, Rows] = {
    "torch.nn.modules.linear.Linear": LINEAR,
    "torch.nn.modules.linear.Bilinear": {"weight": (P, C, C), "bias": (E,)},
    "torch.nn.modules.sparse.Embedding": LOOKUP,
    "torch.nn.modules.sparse.EmbeddingBag": LOOKUP,
    "torch.nn.modules.conv._ConvTransposeNd": {"weight": (C, P, C), "bias": (E,)},
    "torch.nn.modules.conv._ConvNd": {"weight": (P, C), "bias": (E,)},
    "torch.nn.modules.normalization.LayerNorm": ELEMENTWISE,
    "torch.nn.modules.normalization.RMSNorm": ELEMENTWISE,
    "torch.nn.modules.normalization.GroupNorm": ELEMENTWISE,
    "torch.nn.modules.batchnorm._NormBase": ELEMENTWISE,
    "torch.nn.modules.activation.PReLU": ELEMENTWISE,
    "torch.nn.modules.activation.MultiheadAttention": {
        "in_proj_weight": (P, C),
        "q_proj_weight": (P, C),
        "k_proj_weight": (P, C),
        "v_proj_weight": (P, C),
        "in_proj_bias": (E,),
        "bias_k": (E,),
        "bias_v": (E,),
    },
    "torch.nn.modules.rnn.RNNBase": RECURRENT,
    "torch.nn.modules.rnn.RNNCellBase": RECURRENT,
}
"""torch's own. Batch and instance norms share `_NormBase`; the one lookup table of a bag is summed over a fixed bag."""

LIBRARY_MODULES: Mapping[str, Rows] = {
    "transformers.pytorch_utils.Conv1D": TRANSPOSED,
    "transformers.models.mixtral.modeling_mixtral.MixtralExperts": EXPERTS,
    "transformers.models.qwen2_moe.modeling_qwen2_moe.Qwen2MoeExperts": EXPERTS,
    "transformers.models.qwen3_moe.modeling_qwen3_moe.Qwen3MoeExperts": EXPERTS,
    "transformers.models.olmoe.modeling_olmoe.OlmoeExperts": EXPERTS,
    "transformers.models.gpt_oss.modeling_gpt_oss.GptOssExperts": {
        "gate_up_proj": (S, C, P),
        "gate_up_proj_bias": (S, E),
        "down_proj": (S, C, P),
        "down_proj_bias": (S, E),
    },
    "transformers.models.mamba.modeling_mamba.MambaMixer": {"A_log": (E,), "D": (E,)},
    "mamba_ssm.modules.mamba_simple.Mamba": {"A_log": (E,), "D": (E,)},
    "transformers.models.vit.modeling_vit.ViTEmbeddings": TOKENS,
    "transformers.models.deit.modeling_deit.DeiTEmbeddings": TOKENS,
    "transformers.models.dinov2.modeling_dinov2.Dinov2Embeddings": TOKENS,
    "torchvision.models.vision_transformer.VisionTransformer": {"class_token": (E,)},
    "torchvision.models.vision_transformer.Encoder": {"pos_embedding": (S, S, P)},
    "timm.models.vision_transformer.VisionTransformer": {
        "cls_token": (E,),
        "reg_token": (S, S, P),
        "pos_embed": (S, S, P),
    },
}
"""Other libraries' modules that hold bare parameters, by name: none of these libraries is imported."""

LIBRARY_FAMILIES: Mapping[tuple[str, str], Rows] = {
    ("transformers.models.", "TopKRouter"): LINEAR,
    ("transformers.models.", "TopkRouter"): LINEAR,
    ("transformers.models.", "RelativePositionBias"): {"relative_position_bias_table": (S, P)},
}
"""(start, end) of the qualified name of classes that a library copies from model to model under one ending.

transformers 5.23 has some sixty routers; each holds one weight [experts, n] and contracts over n.
"""

MODULES: Mapping[str, Rows] = {**TORCH_MODULES, **LIBRARY_MODULES}
