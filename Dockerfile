# mrcnn serve in a container, as a user without rights:
#
#   docker build -t mrcnn .
#   docker run --read-only --tmpfs /tmp --tmpfs /app/home:uid=10001 -p 8000:8000 mrcnn
#
# Options of `mrcnn serve` follow the name of the image: docker run ... mrcnn --no-refine
# `make serve-image` runs these steps without Docker; tools/dockerfile_steps.py says which
# instructions it knows.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HOME=/app/home
WORKDIR /app

# The packages first: they change less often than the code.
COPY pyproject.toml setup.py README.md LICENSE source/
COPY tools/requirements.py source/tools/
RUN python source/tools/requirements.py serve fast > requirements.txt && pip install --quiet -r requirements.txt

COPY mrcnn source/mrcnn/
COPY weights source/weights/
RUN pip install --quiet --no-deps ./source && mkdir home && chown 10001 home

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["mrcnn", "serve", "--host", "0.0.0.0"]
