"""The one place that imports transformers' modules: classes whose home may move between versions.

transformers promises its top-level names; the layers that our chains are built from lie below, in
the modules of each model. `pyproject.toml` has the range of versions in which all of them exist and
agree with `tests/parity`; `tests/models/test_transformers_names.py` checks the installed one.
"""

from __future__ import annotations

from transformers.models.conditional_detr.configuration_conditional_detr import (
    ConditionalDetrConfig,
)
from transformers.models.conditional_detr.modeling_conditional_detr import (
    ConditionalDetrDecoder,
    encode_sinusoidal_position_embedding,
)
from transformers.models.detr.configuration_detr import DetrConfig
from transformers.models.detr.modeling_detr import (
    DetrDecoder,
    DetrEncoder,
    DetrMLPPredictionHead,
    DetrSinePositionEmbedding,
)
from transformers.models.mask2former.configuration_mask2former import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerModel
from transformers.models.rf_detr.configuration_rf_detr import RfDetrConfig, RfDetrDinov2Config
from transformers.models.rf_detr.modeling_rf_detr import (
    RfDetrC2FLayer,
    RfDetrConvNormLayer,
    RfDetrDecoder,
    RfDetrDinov2Backbone,
    RfDetrLayerNorm,
    RfDetrMLPPredictionHead,
    RfDetrSegmentationBlock,
    RfDetrSegmentationMLPBlock,
    refine_bboxes,
)
from transformers.models.segformer.configuration_segformer import SegformerConfig
from transformers.models.segformer.modeling_segformer import SegformerModel
from transformers.models.swin.configuration_swin import SwinConfig

__all__ = [
    "ConditionalDetrConfig",
    "ConditionalDetrDecoder",
    "DetrConfig",
    "DetrDecoder",
    "DetrEncoder",
    "DetrMLPPredictionHead",
    "DetrSinePositionEmbedding",
    "Mask2FormerConfig",
    "Mask2FormerModel",
    "RfDetrC2FLayer",
    "RfDetrConfig",
    "RfDetrConvNormLayer",
    "RfDetrDecoder",
    "RfDetrDinov2Backbone",
    "RfDetrDinov2Config",
    "RfDetrLayerNorm",
    "RfDetrMLPPredictionHead",
    "RfDetrSegmentationBlock",
    "RfDetrSegmentationMLPBlock",
    "SegformerConfig",
    "SegformerModel",
    "SwinConfig",
    "encode_sinusoidal_position_embedding",
    "refine_bboxes",
]
