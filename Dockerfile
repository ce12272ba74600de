# Cohort Sync as an image: `docker compose up` starts the pages and the runner from it (compose.yaml).
# `python -m tests.dockerfile` does these very steps in a clean folder, without Docker; .ci/run calls it.
FROM python:3.13-slim-bookworm

WORKDIR /opt/cohort-sync
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore --require-hashes -r requirements.lock
COPY app.py ./
COPY .streamlit/config.toml ./.streamlit/
COPY assets ./assets
COPY pages ./pages
COPY sync ./sync
RUN python -m compileall -q app.py pages sync && mkdir -p -m 0700 /data && chown 10001:10001 /data

# Nothing is written but below /data; HOME is where Streamlit looks for settings, and finds none. With an address to
# print, Streamlit does not ask a server on the internet for one.
ENV COHORT_SYNC_DATA=/data HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 STREAMLIT_BROWSER_SERVER_ADDRESS=localhost
VOLUME /data
EXPOSE 8501
USER 10001:10001
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.address", "0.0.0.0"]
