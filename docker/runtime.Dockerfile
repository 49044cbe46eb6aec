# Exported models on a CPU, without PyTorch and the MM packages. From the root of the repository:
#   docker build -f docker/runtime.Dockerfile -t mmtrtvit-runtime .
#   docker run --rm -v "$PWD/deploy":/model:ro -v "$PWD/images":/images:ro -v "$PWD/results":/results \
#       --user "$(id -u):$(id -g)" mmtrtvit-runtime /model /images --out-dir /results
FROM python:3.12.11-slim-bookworm AS wheel

WORKDIR /src
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE model-index.yml ./
COPY mmtrtvit mmtrtvit
COPY configs configs
COPY tools tools
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12.11-slim-bookworm

# The package asks for PyTorch, which its runtime does not need: --no-deps.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "numpy>=2,<3" "opencv-python-headless>=4.10" "onnxruntime>=1.20" \
    && pip install --no-cache-dir --no-deps /wheels/*.whl

ENV PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 mmtrtvit
USER 1000
ENTRYPOINT ["python", "-m", "mmtrtvit.runtime"]
CMD ["--help"]
