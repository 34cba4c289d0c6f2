# The backend's image. `docker compose up --build` uses it; README.md shows other ways to run it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Before the sources, so that a change of them downloads nothing. Only files with a hash in the lock are
# installed, and only built ones: nothing of a package runs here, and no compiler is needed.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /venv/build \
    && /venv/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock \
    && python -m venv --without-pip /app \
    && python -m pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY src src
RUN /venv/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /app/bin/python install --no-deps --no-index dist/*.whl


FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Media3Watch backend" \
    org.opencontainers.image.licenses="Apache-2.0"

# A number, so that Kubernetes' runAsNonRoot can tell; above those that distributions give to people.
USER 10001:10001
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH

EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 CMD ["m3w", "health"]
CMD ["m3w", "serve", "--host", "0.0.0.0"]
