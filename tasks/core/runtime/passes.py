"""Names of the passes of ONNX Runtime's optimiser as `disabled_optimizers` takes them, in the order of their runs.

Gathered from onnxruntime 1.32.0: transformers are what a session of log level 0 says that it applied, rewrite rules
stand beside each other in its library. tests/core/runtime/test_passes.py holds the list against what is installed.
"""

_RULES = (
    "EliminateIdentity",
    "EliminateSlice",
    "UnsqueezeElimination",
    "EliminateDropout",
    "ExpandElimination",
    "CastElimination",
    "CastChainElimination",
    "PreShapeNodeElimination",
    "NoopElimination",
    "DivMulFusion",
    "FuseReluClip",
    "GemmSumFusion",
    "GemmTransposeFusion",
    "NotWhereFusion",
    "ConvAddFusion",
    "ConvMulFusion",
    "ConvBNFusion",
    "Pad_Fusion",
    "MatMul_BatchNormalization_Fusion",
    "LabelEncoderFusion",
)
"""Rewrite rules of level basic, which are applied together."""
_BASIC = (
    "DoubleQDQPairsRemover",
    "ConstantSharing",
    "CommonSubexpressionElimination",
    "ConstantFolding",
    "MatMulAddFusion",
    "ReshapeFusion",
    "FreeDimensionOverrideTransformer",
    "GeluFusionL1",
    "LayerNormFusionL1",
    "SliceConcatToSpaceToDepthFusion",
    "QDQPropagationTransformer",
    "WeightBiasQuantization",
    "WhereDummyDq",
    "EnsureUniqueDQForNodeUnit",
    "TransposeOptimizer",
)
_EXTENDED = (
    "ClipQuantRewrite",
    "ReluQuantRewrite",
    "TransposeOptimizer_CPUExecutionProvider",
    "QDQS8ToU8Transformer",
    "QDQSelectorActionTransformer",
    "GemmActivationFusion",
    "MatMulIntegerToFloatFusion",
    "DynamicQuantizeMatMulFusion",
    "ConvActivationFusion",
    "GeluFusionL2",
    "LayerNormFusionL2",
    "SimplifiedLayerNormFusion",
    "AttentionFusion",
    "EmbedLayerNormFusion",
    "GatherSliceToSplitFusion",
    "GatherToSliceFusion",
    "MatmulTransposeFusion",
    "BiasGeluFusion",
    "GroupQueryAttentionFusion",
    "GroupQueryAttentionPreNormFusion",
    "SkipLayerNormFusion",
    "BiasSkipLayerNormFusion",
    "FastGeluFusion",
    "QuickGeluFusion",
    "SwiGluFusion",
    "BiasSoftmaxFusion",
    "BiasDropoutFusion",
    "MatMulScaleFusion",
    "MatMulActivationFusion",
    "MatMulNBitsFusion",
    "QDQFinalCleanupTransformer",
)
_ALL = ("NchwcTransformer", "NhwcTransformer", "ConvAddActivationFusion")

PASSES = (*_RULES, *_BASIC, *_EXTENDED, *_ALL)
LEVELS = ("off", "basic", "extended", "all")
"""Of graph optimisation: none of the passes, the first of them, those of extended, too, all."""
