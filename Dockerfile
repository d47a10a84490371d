# A worker image for the flows of this repository, for Docker, Kubernetes or a process pool:
#
#   docker build -t hypernodes .
#   docker run -e PREFECT_API_URL=... hypernodes prefect worker start --pool local
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
ENV HYPERNODES_CACHE=/var/cache/hypernodes
WORKDIR /opt/hypernodes
COPY pyproject.toml README.md LICENSE ./
COPY hypernodes hypernodes
COPY integrations integrations
RUN pip install ".[all,flows]"
COPY flows flows
COPY prefect.yaml .
RUN useradd --create-home worker && mkdir -p "$HYPERNODES_CACHE" && chown worker . "$HYPERNODES_CACHE"
USER worker
VOLUME /var/cache/hypernodes
CMD ["prefect", "worker", "start", "--pool", "local", "--type", "process"]
