# Training, evaluation and export, on GPUs or CPUs. From the root of the repository:
#   docker build -f docker/train.Dockerfile -t mmtrtvit-train .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD":/project mmtrtvit-train \
#       train /project/my_config.py --work-dir /project/runs/first
FROM python:3.12.11-slim-bookworm

# libgl1 and libglib2.0-0: OpenCV; gcc: kernels that Triton and torch.compile make at run time.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONUNBUFFERED=1 \
    MMCV_WITH_OPS=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# PyTorch's wheels bring CUDA's libraries. In a layer of its own: it changes least and weighs most.
ARG TORCH=2.8.0
ARG TORCHVISION=0.23.0
RUN pip install --no-cache-dir "torch==$TORCH" "torchvision==$TORCHVISION"

WORKDIR /src
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE model-index.yml ./
COPY mmtrtvit mmtrtvit
COPY configs configs
COPY tools tools
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[onedl,pretrain,deploy,data]" "tensorboard>=2.18" \
    && rm -rf /src/*

RUN useradd --create-home --uid 1000 mmtrtvit
USER 1000
WORKDIR /project
ENTRYPOINT ["mmtrtvit"]
CMD ["--help"]
