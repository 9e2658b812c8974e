# One image, two commands: `api` (HTTP on 8000) and `worker`. Migrations: `migrate`.

FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/kindryn
COPY requirements-prod.lock .
RUN /opt/kindryn/bin/pip install --no-cache-dir --require-hashes -r requirements-prod.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /opt/kindryn/bin/pip install --no-cache-dir --no-deps . \
    && /opt/kindryn/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin kindryn
COPY --from=build /opt/kindryn /opt/kindryn
ENV PATH=/opt/kindryn/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000

# A worker answers no HTTP: start it with --no-healthcheck and watch its metrics.
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as http; http.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]

ENTRYPOINT ["kindryn-zoom"]
CMD ["api"]
