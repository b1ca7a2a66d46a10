"""The messages of the protocol's gRPC form, package `inference`, and of `grpc.health.v1`; numbers as Triton has them.

Numbers and names are the protocol: they are compared with two clients' own definitions in tests/clients. Of
ModelConfig the fields are here that our configurations use. Knows the protocol's fields. Knows nothing of their use.
"""

from typing import Any

from serving.oip.protobuf import message_types

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"

_NAMED = "name 1 string, version 2 string"
_PARAMETER = """bool_param 1 bool parameter_choice, int64_param 2 int64 parameter_choice,
    string_param 3 string parameter_choice"""
_TENSOR = """name 1 string, datatype 2 string, shape 3 int64*, parameters 4 InferParameter{},
    contents 5 InferTensorContents"""

_INFER = {
    "InferParameter": f"{_PARAMETER}, double_param 4 double parameter_choice, uint64_param 5 uint64 parameter_choice",
    "InferTensorContents": """bool_contents 1 bool*, int_contents 2 int32*, int64_contents 3 int64*,
        uint_contents 4 uint32*, uint64_contents 5 uint64*, fp32_contents 6 float*, fp64_contents 7 double*,
        bytes_contents 8 bytes*""",
    "ModelInferRequest": """model_name 1 string, model_version 2 string, id 3 string, parameters 4 InferParameter{},
        inputs 5 ModelInferRequest.InferInputTensor*, outputs 6 ModelInferRequest.InferRequestedOutputTensor*,
        raw_input_contents 7 bytes*""",
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "name 1 string, parameters 2 InferParameter{}",
    "ModelInferResponse": """model_name 1 string, model_version 2 string, id 3 string, parameters 4 InferParameter{},
        outputs 5 ModelInferResponse.InferOutputTensor*, raw_output_contents 6 bytes*""",
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelStreamInferResponse": "error_message 1 string, infer_response 2 ModelInferResponse",
}
_SERVER = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live 1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready 1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name 1 string, version 2 string, extensions 3 string*",
}
_MODEL = {
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "ready 1 bool",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": """name 1 string, versions 2 string*, platform 3 string,
        inputs 4 ModelMetadataResponse.TensorMetadata*, outputs 5 ModelMetadataResponse.TensorMetadata*""",
    "ModelMetadataResponse.TensorMetadata": "name 1 string, datatype 2 string, shape 3 int64*",
}
_STATISTICS = {
    "ModelStatisticsRequest": _NAMED,
    "ModelStatisticsResponse": "model_stats 1 ModelStatistics*",
    "ModelStatistics": """name 1 string, version 2 string, last_inference 3 uint64, inference_count 4 uint64,
        execution_count 5 uint64, inference_stats 6 InferStatistics, batch_stats 7 InferBatchStatistics*,
        memory_usage 8 MemoryUsage*, response_stats 9 InferResponseStatistics{}""",
    "StatisticDuration": "count 1 uint64, ns 2 uint64",
    "InferStatistics": """success 1 StatisticDuration, fail 2 StatisticDuration, queue 3 StatisticDuration,
        compute_input 4 StatisticDuration, compute_infer 5 StatisticDuration, compute_output 6 StatisticDuration,
        cache_hit 7 StatisticDuration, cache_miss 8 StatisticDuration""",
    "InferResponseStatistics": """compute_infer 1 StatisticDuration, compute_output 2 StatisticDuration,
        success 3 StatisticDuration, fail 4 StatisticDuration, empty_response 5 StatisticDuration,
        cancel 6 StatisticDuration""",
    "InferBatchStatistics": """batch_size 1 uint64, compute_input 2 StatisticDuration,
        compute_infer 3 StatisticDuration, compute_output 4 StatisticDuration""",
    "MemoryUsage": "type 1 string, id 2 int64, byte_size 3 uint64",
}
_REPOSITORY = {
    "ModelRepositoryParameter": f"{_PARAMETER}, bytes_param 4 bytes parameter_choice",
    "RepositoryIndexRequest": "repository_name 1 string, ready 2 bool",
    "RepositoryIndexResponse": "models 1 RepositoryIndexResponse.ModelIndex*",
    "RepositoryIndexResponse.ModelIndex": "name 1 string, version 2 string, state 3 string, reason 4 string",
    # KServe's form of these two has the model's name as field 1 and answers with what happened; Triton's answer is
    # empty, and its clients pass over fields that they do not know. So one message serves both.
    "RepositoryModelLoadRequest": """repository_name 1 string, model_name 2 string,
        parameters 3 ModelRepositoryParameter{}""",
    "RepositoryModelLoadResponse": "model_name 1 string, isLoaded 2 bool",
    "RepositoryModelUnloadRequest": """repository_name 1 string, model_name 2 string,
        parameters 3 ModelRepositoryParameter{}""",
    "RepositoryModelUnloadResponse": "model_name 1 string, isUnloaded 2 bool",
}
_CONFIG = {
    "ModelConfigRequest": _NAMED,
    "ModelConfigResponse": "config 1 ModelConfig",
    "ModelConfig": """name 1 string, platform 2 string, version_policy 3 ModelVersionPolicy, max_batch_size 4 int32,
        input 5 ModelInput*, output 6 ModelOutput*, instance_group 7 ModelInstanceGroup*,
        default_model_filename 8 string, dynamic_batching 11 ModelDynamicBatching scheduling_choice,
        parameters 14 ModelParameter{}, model_warmup 16 ModelWarmup*, backend 17 string,
        model_transaction_policy 19 ModelTransactionPolicy, response_cache 24 ModelResponseCache""",
    "ModelVersionPolicy": """latest 1 ModelVersionPolicy.Latest policy_choice,
        all 2 ModelVersionPolicy.All policy_choice, specific 3 ModelVersionPolicy.Specific policy_choice""",
    "ModelVersionPolicy.Latest": "num_versions 1 uint32",
    "ModelVersionPolicy.All": "",
    "ModelVersionPolicy.Specific": "versions 1 int64*",
    "ModelTensorReshape": "shape 1 int64*",
    "ModelInput": """name 1 string, data_type 2 DataType, format 3 ModelInput.Format, dims 4 int64*,
        reshape 5 ModelTensorReshape, is_shape_tensor 6 bool, allow_ragged_batch 7 bool, optional 8 bool,
        is_non_linear_format_io 9 bool""",
    "ModelOutput": """name 1 string, data_type 2 DataType, dims 3 int64*, label_filename 4 string,
        reshape 5 ModelTensorReshape, is_shape_tensor 6 bool, is_non_linear_format_io 7 bool""",
    "ModelInstanceGroup": "name 1 string, count 2 int32, gpus 3 int32*, kind 4 ModelInstanceGroup.Kind",
    "ModelDynamicBatching": """preferred_batch_size 1 int32*, max_queue_delay_microseconds 2 uint64,
        preserve_ordering 3 bool, priority_levels 4 uint64, default_priority_level 5 uint64,
        default_queue_policy 6 ModelQueuePolicy""",
    "ModelQueuePolicy": """timeout_action 1 ModelQueuePolicy.TimeoutAction, default_timeout_microseconds 2 uint64,
        allow_timeout_override 3 bool, max_queue_size 4 uint32""",
    "ModelParameter": "string_value 1 string",
    "ModelWarmup": "name 1 string, batch_size 2 uint32, count 4 uint32",
    "ModelTransactionPolicy": "decoupled 1 bool",
    "ModelResponseCache": "enable 1 bool",
}
_ENUMS = {
    "DataType": (
        *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8"),
        *("TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
    ),
    "ModelInput.Format": ("FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"),
    "ModelInstanceGroup.Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
    "ModelQueuePolicy.TimeoutAction": ("REJECT", "DELAY"),
}

MESSAGES: dict[str, Any] = message_types(
    "inference", _INFER | _SERVER | _MODEL | _STATISTICS | _REPOSITORY | _CONFIG, _ENUMS
)
"""Class of every message of package `inference`, by name."""

HEALTH_MESSAGES: dict[str, Any] = message_types(
    "grpc.health.v1",
    {"HealthCheckRequest": "service 1 string", "HealthCheckResponse": "status 1 HealthCheckResponse.ServingStatus"},
    {"HealthCheckResponse.ServingStatus": ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")},
)
"""The same of `grpc.health.v1`, which Kubernetes' gRPC probes speak."""
