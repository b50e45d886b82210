# syntax=docker/dockerfile:1.7
# The GPU image: CUDA 13 and Python packages only, pinned by constraints-gpu-py312.txt. Build from the root of the checkout:
#   docker build -f infra/images/gpu.Dockerfile -t smolflow:gpu .
# NVIDIA's apex is optional and off by default. What it adds over Transformer Engine is one kernel, fused_weight_gradient_mlp_cuda
# (weight gradients accumulated in float32 inside the GEMM for the output layer). To build it, give a commit of its repository:
#   docker build -f infra/images/gpu.Dockerfile --build-arg APEX_COMMIT=<40 hex digits> -t smolflow:gpu-apex .
# Never install the package index's `apex`: it is an unrelated web toolkit, and its mere presence breaks RMSNorm models in
# megatron-core where Transformer Engine is missing.
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS build
ARG APEX_COMMIT=""
ARG MAX_JOBS=8
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ git ninja-build python3.12-dev python3.12-venv \
 && rm -rf /var/lib/apt/lists/* && python3.12 -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY constraints-gpu-py312.txt /src/
RUN pip install -c /src/constraints-gpu-py312.txt torch numpy ninja pybind11 wheel 'setuptools<82'
# Transformer Engine's torch extension is 30 C++ files and no CUDA source, so it needs headers only (about 19 CPU minutes).
RUN site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia \
 && CPATH=$site/cu13/include:$site/cudnn/include:$site/nccl/include NVTE_PYTORCH_FORCE_BUILD=TRUE NVTE_FRAMEWORK=pytorch \
    pip wheel --no-deps --no-build-isolation -w /wheels transformer-engine-torch==2.11.0
RUN if [ -n "$APEX_COMMIT" ]; then APEX_CPP_EXT=1 APEX_CUDA_EXT=1 TORCH_CUDA_ARCH_LIST="9.0" \
    pip wheel --no-deps --no-build-isolation -w /wheels "apex @ git+https://github.com/NVIDIA/apex@${APEX_COMMIT}"; fi
COPY . /app
RUN pip install -c /src/constraints-gpu-py312.txt /wheels/*.whl --editable '/app[gpu,data,post]' && pip check

FROM nvidia/cuda:13.0.2-base-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends g++ gcc libibverbs1 librdmacm1 python3.12 && rm -rf /var/lib/apt/lists/*
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH CUDA_DEVICE_MAX_CONNECTIONS=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
